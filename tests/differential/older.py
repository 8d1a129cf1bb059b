"""Where an ansible-core before 2.19 says or does something else. The modules follow 2.19 and later, on every controller."""
import re

# The same in other words.
WORDS = [
    (r"is of type <class '(\w+)'>", r"is of type \1"),
    (r"is not a valid boolean\.  ", "is not a valid boolean. "),
    (r"^(?=.* to dict: )(.*): dictionary update sequence .*", r'\1: unable to evaluate string in the "key=value" format as dictionary'),
]
# (before this version, what it does, how to know it by the args, its message and ours)
KNOWN = [
    ((2, 19), "refuses a null in a list of texts", lambda args, their, our: "'None' is not a string" in their),
    ((2, 19), "hides a bool, and a short secret before one that it is a part of", lambda args, their, our: is_secret(args) and their == our),
    ((2, 18), "does not take 3.0 or 1e3 for an int", lambda args, their, our: "to int: " in their),
    ((2, 18), "reads a size as far as it makes sense", lambda args, their, our: {"size", "sizes"} & set(args) and their in ("", our)),
    ((2, 18), "crashes where a list must be of choices and holds a number", lambda args, their, our: "expected str instance" in their),
    ((2, 18), "has no such switch", lambda args, their, our: ": _ansible_ignore_unknown_opts, " in their),
]


def in_todays_words(message):
    for old, new in WORDS:
        message = re.sub(old, new, message)
    return message


def is_known(version, args, their, our):
    return any(version < before and tells(args, their or "", our or "") for before, _, tells in KNOWN)


def is_secret(args):
    return any("secret" in name or "password" in name for name in args)
