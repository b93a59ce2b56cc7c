"""When a schedule comes due, in Prefect's words and in those of `backup_schedules`.

The texts are one to one: a schedule that is made again from its text is the one that was read.
"""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import ValidationError

from convault.errors import OptionsError
from convault.interval import Interval
from convault.schedule import BOTH_DAYS, WORDS, BackupSchedule, word_for


def text_of(timing: Any) -> str:
    """What `backup_schedules` says of it."""
    if isinstance(timing, CronSchedule):
        line = " ".join(timing.cron.split())
        return word_for(line) if timing.day_or else line + BOTH_DAYS
    if isinstance(timing, IntervalSchedule):
        return str(Interval(timing.anchor_date, timing.interval))
    return str(getattr(timing, "rrule", "never"))


def zone_of(timing: Any) -> str:
    """IANA name of its time zone. Prefect's own is UTC, where a schedule names none."""
    return getattr(timing, "timezone", None) or "UTC"


def timing_of(row: BackupSchedule) -> CronSchedule | IntervalSchedule | RRuleSchedule:
    """What Prefect shall go by. OptionsError, where the text is none that Prefect takes: of what
    cron lines may hold it takes a little less than others."""
    try:
        return _timing(row)
    except ValidationError as error:
        wrong = {
            str(found["loc"][0]) for found in error.errors(include_input=False) if found["loc"]
        }
        what = "timezone" if wrong == {"timezone"} else "schedule"
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
        what = "schedule"  # dateutil has no one error for what is no rule
    raise OptionsError(f"{what}: Prefect does not take it. Say it in a simpler way.")


def _timing(row: BackupSchedule) -> CronSchedule | IntervalSchedule | RRuleSchedule:
    if (interval := row.interval) is not None:
        return IntervalSchedule(
            interval=interval.every, anchor_date=interval.anchor, timezone=row.timezone
        )
    if row.is_rule:
        return RRuleSchedule(rrule=row.schedule, timezone=row.timezone)
    line = row.schedule.removesuffix(BOTH_DAYS)
    return CronSchedule(
        cron=WORDS.get(line, line), timezone=row.timezone, day_or=line == row.schedule
    )
