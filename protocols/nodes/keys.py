"""CURVE keys as their files have them: 32 bytes, as 40 characters of Z85 (rfc.zeromq.org/spec/32)."""

ALPHABET = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
CHARACTERS = 40


def decode_key(key: bytes) -> bytes:
    """Its 32 bytes. Raises ValueError if it is none: libzmq would say no more than "invalid argument"."""
    decoded = b""
    if len(key) == CHARACTERS and all(character in ALPHABET for character in key):
        for start in range(0, CHARACTERS, 5):
            number = 0
            for character in key[start : start + 5]:
                number = number * len(ALPHABET) + ALPHABET.index(character)
            if number < 1 << 32:
                decoded += number.to_bytes(4, "big")
    if len(decoded) != CHARACTERS // 5 * 4:
        raise ValueError(f"a key has {CHARACTERS} characters of Z85")
    return decoded
