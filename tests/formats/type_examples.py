"""For every base type of Postgres 14 to 18: values as literals, the odd ones first of all."""

TEXTS = [
    "", " ", "a", "\\N", "\\.", "\\", "\\\\", "NULL", "null", '"', "'", "\t", "\n", "\r", "\r\n",
    "\b\f\v", "a\tb\nc\\n", "{}", "[]", "ação", "😀👩‍👩‍👧", "\u2028\u2029", "\ufeff", "\u0085",
    "".join(map(chr, range(1, 128))), "\x80\xff", "\U0010ffff\ufffe", "e\u0301", "x" * 20000,
]  # fmt: skip
"""Every character that a text may hold is special somewhere; NUL cannot be stored."""

_NETWORKS = ["10.0.0.1", "10.0.0.1/32", "10.0.0.1/8", "::1", "2001:db8::/32", "0.0.0.0/0"]
_DATES = ["2024-02-29", "4713-01-01 BC", "0044-03-15 BC", "5874897-12-31", "infinity", "-infinity"]
_TIMESTAMPS = [
    "2024-02-29 12:34:56.789012", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999",
    "infinity", "-infinity", "1900-01-01 00:00:00", "0001-12-31 23:59:59.999999 BC",
]  # fmt: skip
_FLOATS = ["0", "-0", "NaN", "Infinity", "-Infinity", "1.5", "1e-30", "0.1"]
_BITS = ["", "0", "1", "10110"]

EXAMPLES: dict[str, list[str]] = {
    '"bit"': _BITS,
    '"char"': ["", "a", "\\", "\n", "\x7f", " ", "'", '"'],
    "aclitem": ["postgres=r/postgres", "=arwdDxt/postgres"],
    "bigint": ["0", "9223372036854775807", "-9223372036854775808"],
    "bit varying": _BITS,
    "boolean": ["true", "false"],
    "box": ["((1,2),(3,4))", "((-0,NaN),(Infinity,1e-300))"],
    "bpchar": TEXTS,
    "bytea": ["", "\\x00", "\\xdeadbeef005c0a", "\\x" + bytes(range(256)).hex()],
    "character varying": TEXTS,
    "cid": ["0", "4294967295"],
    "cidr": ["10.0.0.0/8", "10.0.0.1/32", "2001:db8::/32", "0.0.0.0/0"],
    "circle": ["<(1,2),3>", "<(0.1,-0),0>"],
    "date": _DATES,
    "double precision": [*_FLOATS, "5e-324", "1.7976931348623157e308", "0.30000000000000004"],
    "inet": _NETWORKS,
    "int2vector": ["", "1 2 3", "-32768"],
    "integer": ["0", "2147483647", "-2147483648"],
    "interval": [
        "0",
        "1 year -2 mons +3 days -04:05:06.789",
        "-178000000 years",
        "00:00:00.000001",
        "-1 days +23:59:59.999999",
        "2562047788:00:54.775807",
    ],
    "json": ['{"a": 1, "a" : 2}', " [ 1.0 , 1e400 ] ", '"\\u0000 \\ud83d\\ude00"', "null", "\n1"],
    "jsonb": ['{"b": 1.10, "a": "\\n\\"\\\\"}', "null", "[1e300, -0.0, 123456789012345678901]"],
    "jsonpath": ["$.a[*] ? (@ > 1)", "strict $", '$."a\\nb"'],
    "line": ["{1,-1,0.1}", "{0,1,-3}"],
    "lseg": ["[(1,2),(3,4)]"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "money": ["0", "-1234.56", "92233720368547758.07"],
    "name": [text[:10] for text in TEXTS],
    "numeric": [
        "0",
        "0.000",
        "-0",
        "1.10",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e1000",
        "1e-1000",
        "12345678901234567890.123456789012345678901234567890",
    ],
    "oid": ["0", "4294967295"],
    "oidvector": ["", "1 4294967295"],
    "path": ["((1,2),(3,4))", "[(1,2),(3,4)]"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "pg_snapshot": ["10:20:10,14,15", "1:1:"],
    "point": ["(1,2)", "(NaN,Infinity)", "(-0,5e-324)"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "real": [*_FLOATS, "1e-45", "3.4028235e38", "16777217"],
    "refcursor": TEXTS,
    "regclass": ["pg_catalog.pg_class", "-", "4294967295"],
    "regcollation": ['pg_catalog."C"', "-"],
    "regconfig": ["pg_catalog.simple", "-"],
    "regdictionary": ["pg_catalog.simple", "-"],
    "regnamespace": ["pg_catalog", "-"],
    "regoper": ["pg_catalog.||/", "0"],
    "regoperator": ["pg_catalog.+(integer,integer)", "0"],
    "regproc": ["pg_catalog.now", "-"],
    "regprocedure": ["pg_catalog.abs(integer)", "-"],
    "regrole": ["postgres", "-"],
    "regtype": ["integer", "pg_catalog.bpchar", "timestamp with time zone", "-"],
    "smallint": ["0", "32767", "-32768"],
    "text": TEXTS,
    "tid": ["(0,1)", "(4294967295,65535)"],
    "time with time zone": ["00:00:00+00", "24:00:00-15:59", "12:34:56.789012+05:30"],
    "time without time zone": ["00:00:00", "24:00:00", "23:59:59.999999"],
    "timestamp with time zone": [
        text if "infinity" in text else text.replace(" BC", "+00 BC") for text in _TIMESTAMPS
    ],
    "timestamp without time zone": _TIMESTAMPS,
    "tsquery": ["'fat' & ( 'rat':AB | !'it''''s' )", "", "'a' <2> 'b':*"],
    "tsvector": ["'a':1A,2 'it''s':3 'back\\\\slash'", ""],
    "txid_snapshot": ["10:20:10,14,15"],
    "uuid": ["c0ffee00-0000-4000-8000-000000000000"],
    "xid": ["0", "4294967295"],
    "xid8": ["0", "18446744073709551615"],
    "xml": ['<?xml version="1.0" encoding="UTF-8"?><a>ç&amp;</a>', "text <b/> more", ""],
}

RANGES = {
    "int4range": ["empty", "(,)", "[1,5)"],
    "int8range": ["empty", "(,9223372036854775807)"],
    "numrange": ["empty", "[NaN,NaN]", "(,-Infinity]", "[1.10,1.1000]"],
    "tsrange": ["empty", "[-infinity,)"],
    "tstzrange": ["empty", '["0044-03-15 12:00:00+00 BC",infinity]'],
    "daterange": ["empty", "(,infinity)"],
    "int4multirange": ["{}", "{[1,5),[7,)}"],
    "int8multirange": ["{}", "{(,)}"],
    "nummultirange": ["{}", "{[0.0,0.00],[1,2)}"],
    "tsmultirange": ["{}", "{[-infinity,infinity]}"],
    "tstzmultirange": ["{}", '{["0044-03-15 12:00:00+00 BC",infinity]}'],
    "datemultirange": ["{}", "{(,2024-01-01),[2025-01-01,infinity)}"],
}
"""Every range and multirange type; pg_type has them beside the base types."""

SINCE: dict[int, dict[str, list[str]]] = {
    17: {"interval": ["infinity", "-infinity"]},
}
"""Values that a version is the first to take."""

TAKES_NO_TEXT = {
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
}
"""Types of Postgres' own catalogs whose input functions refuse everything, from any dump."""

HAS_NO_BINARY_FORM = {"aclitem", "gtsvector"}

WITH_MODIFIERS: dict[str, list[str]] = {
    "character(5)": ["", "a", "ab   ", "  x", "çãé"],
    "character varying(3)": ["", "a  ", "\\N", "\n\t "],
    "numeric(10,3)": ["1", "-1.100", "NaN"],
    "bit(3)": ["000", "101"],
    "bit varying(5)": ["", "10110"],
    "timestamp(3) with time zone": ["2024-02-29 12:34:56.789+00"],
    "time(0) without time zone": ["23:59:59"],
    "interval year to month": ["1 year 2 mons"],
    "interval(2)": ["1.25"],
}
