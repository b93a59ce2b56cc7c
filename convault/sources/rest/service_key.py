"""Whether a key sees all rows. Row security hides rows without a word, and a backup without them is
worse than none.

Supabase's `service_role` bypasses row security (BYPASSRLS); no other role of the API does. That the
key is of that role is what its own text claims (a legacy key is a token with a role, a new one
begins with `sb_secret_`: `convault.project` refuses others), and what the server confirms: only to
that role Auth lists users. Where there is no Auth, PostgREST has proven the token's signature, and
so its claim; of a new key nothing is proven then, and it is refused.
"""

from __future__ import annotations

from convault.errors import AuthenticationError, RowsHidden
from convault.project import Project
from convault.sources.rest.api import RestApi

_NO_AUTH = {404, 405, 501}


def require_service_key(api: RestApi, project: Project) -> None:
    """RowsHidden for a key under row security, AuthenticationError for one that is wrong."""
    status = api.status("/auth/v1/admin/users", {"page": "1", "per_page": "1"})
    is_token = "Authorization" in project.headers
    if 200 <= status < 300 or (status in _NO_AUTH and is_token):
        return
    if status == 401:
        raise AuthenticationError(
            f"{api.where} refuses the key. Check SUPABASE_SERVICE_ROLE_KEY, and that it is this "
            "project's."
        )
    raise RowsHidden(
        f"{api.where} does not confirm that SUPABASE_SERVICE_ROLE_KEY is the project's secret key "
        f"or service_role key (Auth answered {status}): row security would hide rows from any "
        "other, and the backup would lack them. Set the right key."
    )
