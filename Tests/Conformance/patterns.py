"""What scripts write in short: messages by their number, ids, variables, and patterns."""

import base64
import hashlib
import json
import re
from uuid import UUID


def id_of(number):
    return f"0b5e55ed-0000-4000-8000-{number:012x}"


def message(number):
    """The script's message of this number, as a server writes it."""
    second = f"{number // 60 % 60:02d}:{number % 60:02d}"
    receipt = hashlib.sha256(id_of(number).encode()).digest()
    return {
        "type": "message", "id": id_of(number), "from": "bo",
        "sentAt": f"2026-11-23T10:{second}.000Z", "receivedAt": f"2026-11-23T10:{second}.131Z",
        "text": f"text {number}", "seq": number,
        "receipt": base64.urlsafe_b64encode(receipt).decode().rstrip("="),
    }


def digest(ids):
    """The XOR over ids of (upper 64 bits XOR lower 64 bits), as 16 hexadecimal digits."""
    total = 0
    for one in ids:
        number = UUID(one).int
        total ^= (number >> 64) ^ (number & (1 << 64) - 1)
    return f"{total:016x}"


def expand(value, variables):
    """Writes in full what a script wrote in short.

    `@5` is the id of message 5; `$name` a variable that is known; `{"$message": 5, …}` message 5
    with other fields, of which those that are null are left out; `{"$page": [3, 6]}` messages 3 to
    6; `{"$digest": ["@5"]}` their digest.
    """
    if isinstance(value, str):
        if re.fullmatch(r"@\d+", value):
            return id_of(int(value[1:]))
        return variables.get(value, value) if value.startswith("$") else value
    if isinstance(value, list):
        return [expand(one, variables) for one in value]
    if not isinstance(value, dict):
        return value
    if "$page" in value:
        first, last = value["$page"]
        return [message(number) for number in range(first, last + 1)]
    if "$digest" in value:
        return digest(expand(value["$digest"], variables))
    fields = {key: expand(one, variables) for key, one in value.items()}
    if "$message" in fields:
        fields = message(fields.pop("$message")) | fields
        fields = {key: one for key, one in fields.items() if one is not None}
    return fields


def mismatch(pattern, value, variables):
    """Why `value` is not like `pattern`, in words; None when it is. Binds variables.

    An object matches when the fields that the pattern names do; `{"$absent": true}` is a field that
    must not be there. Besides: `{"$matches": "regular expression"}`, `{"$atMost": 3}`,
    `{"$any": true}`, `{"$either": [pattern, …]}`, and `$name`, which takes whatever is there and
    keeps to it from then on.
    """
    pattern = expand(pattern, variables)
    if isinstance(pattern, str) and pattern.startswith("$"):
        variables[pattern] = value
        return None
    if isinstance(pattern, dict):
        return object_mismatch(pattern, value, variables)
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            return f"{brief(value)} is no list of {len(pattern)}"
        for index, (part, one) in enumerate(zip(pattern, value, strict=True)):
            if reason := mismatch(part, one, variables):
                return f"[{index}] {reason}"
        return None
    is_same = type(pattern) is type(value) and pattern == value
    return None if is_same else f"{brief(value)} is not {brief(pattern)}"


def object_mismatch(pattern, value, variables):
    if "$any" in pattern:
        return None
    if "$matches" in pattern:
        is_like = isinstance(value, str) and re.fullmatch(pattern["$matches"], value)
        return None if is_like else f"{brief(value)} is not like {pattern['$matches']}"
    if "$atMost" in pattern:
        is_low = isinstance(value, int) and value <= pattern["$atMost"]
        return None if is_low else f"{brief(value)} is above {pattern['$atMost']}"
    if "$either" in pattern:
        reasons = [mismatch(one, value, variables) for one in pattern["$either"]]
        return None if None in reasons else "; ".join(reasons)
    if not isinstance(value, dict):
        return f"{brief(value)} is no object"
    for key, part in pattern.items():
        if part == {"$absent": True}:
            if key in value:
                return f"{key} is there"
        elif key not in value:
            return f"{key} is missing"
        elif reason := mismatch(part, value[key], variables):
            return f"{key}: {reason}"
    return None


def matches(pattern, value, variables):
    """Whether it does; variables are bound only then."""
    trial = dict(variables)
    if mismatch(pattern, value, trial) is not None:
        return False
    variables.update(trial)
    return True


def brief(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 400 else text[:400] + "…"
