"""What a function takes from a request beside the request itself: values of its path, and its body.

A value of the path goes to the parameter of its name, as str, or as what that is annotated with. A parameter named
`body` gets the payload, decoded from JSON and checked against its annotation. msgspec does both; the decoders are made
when the function is registered, and a client whose request does not fit is told where: status 400.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from holdfast.node.errors import RequestError
from holdfast.node.function import Function, ask, check_no_generator, innermost, said
from holdfast.node.request import Content
from holdfast.protocols.errors import ConfigError

BODY = "body"

Decode = Callable[[Any], Any]


class Handler:
    """A function for requests, of channels too. It is called with a request and the values of its path's parameters,
    and gives what Function.begin gives. Raises RequestError (400).

    names: of the parameters of its path, in order. path: that, for people. has_more: whether it takes more than the
    request. route: the path or field by which it is found, for people; "": it takes all others.
    """

    __slots__ = ("_body", "_is_optional", "_values", "function", "has_more", "route")

    def __init__(self, function: Function, names: Sequence[str] = (), path: str = "") -> None:
        author = function.function
        signature = _signature_of(author)
        parameters = {} if signature is None else signature.parameters
        self.function = function
        self.route = ""
        self._values: list[tuple[str, Decode | None]] = []
        for name in names:
            kind = _annotation(author, parameters.get(name), str)
            self._values.append((name, None if kind is str else _convert(author, name, kind)))
        self._body: Decode | None = None
        self._is_optional = False
        body = parameters.get(BODY)
        if body is not None and BODY not in names and body.kind not in (body.VAR_KEYWORD, body.VAR_POSITIONAL):
            self._body = _decoder(author, _annotation(author, body, Any))
            self._is_optional = body.default is not inspect.Parameter.empty
        self.has_more = bool(self._values or self._body)
        check(author, "a request", named=[*names, BODY] if self._body else names, path=path)

    def __call__(self, request: Content, values: Sequence[str] = ()) -> Any:  # noqa: ANN401 - the author's
        if not self.has_more:
            return self.function.begin(request)
        named: dict[str, Any] = {}
        for (name, decode), value in zip(self._values, values, strict=True):
            named[name] = value if decode is None else _checked(name, decode, value)
        if self._body is not None and not (self._is_optional and not request.payload):
            named[BODY] = _checked(BODY, self._body, request.payload)
        return self.function.begin(request, **named)


def check(function: Callable[..., Any], *arguments: str, named: Sequence[str] = (), path: str = "") -> None:
    """Raise ConfigError if it can't be called with so many arguments (what they are, for people), and these names; or
    if it has a `yield`. path: for which it is."""
    if not callable(function):
        raise ConfigError(f"expected a function to register, got {function!r:.80}")
    check_no_generator(function)
    fault = fault_of(function, *arguments, **dict.fromkeys(named))
    if fault:
        expected = ", ".join([*arguments, *(f"{name}=" for name in named)]) or "no argument"
        where = f" for {path}" if path else ""
        raise ConfigError(f"{said(function)} must take {expected}{where}: it could not be called, {fault}")


def fault_of(function: Callable[..., Any], *arguments: object, **named: object) -> str:
    """Why it can't be called with these; "": it can."""
    signature = _signature_of(function)
    try:
        if signature is not None:
            signature.bind(*arguments, **named)
    except TypeError as error:
        return str(error)
    return ""


def _signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """None: it is no function, a builtin that does not say, or an object that can't be asked."""
    signature: inspect.Signature | None = ask(inspect.signature, function, None)
    return signature


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter | None, default: object) -> Any:  # noqa: ANN401
    """The type that a parameter is annotated with. Each is looked up alone: others may be for type checkers only."""
    if parameter is None or parameter.annotation is inspect.Parameter.empty:
        return default

    def holder() -> None: ...

    holder.__annotations__ = {parameter.name: parameter.annotation}
    try:
        return get_type_hints(holder, _globals(function), include_extras=True)[parameter.name]
    except Exception as error:  # whatever the expression raises
        raise ConfigError(
            f"the annotation of {parameter.name} of {said(function)} can't be looked up in its module: {error}"
        ) from error


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    return ask(attrgetter("__globals__"), innermost(function), {})


def _convert(function: Callable[..., Any], name: str, kind: Any) -> Decode:  # noqa: ANN401
    _check_type(function, name, kind)
    return partial(msgspec.convert, type=kind, strict=False)


def _decoder(function: Callable[..., Any], kind: Any) -> Decode:  # noqa: ANN401
    if kind in (bytes, bytearray, memoryview):
        raise ConfigError(f"{BODY} of {said(function)} is decoded from JSON: bytes as they came are request.payload")
    _check_type(function, BODY, kind)
    return msgspec.json.Decoder(kind).decode


def _check_type(function: Callable[..., Any], name: str, kind: Any) -> None:  # noqa: ANN401
    """Types that msgspec does not know it takes for its user's own, and then nothing fits."""
    try:
        is_known = not isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType)
    except Exception as error:
        raise ConfigError(f"{name} of {said(function)} has a type that msgspec does not take: {error}") from error
    if not is_known:
        raise ConfigError(
            f"{name} of {said(function)} has a type that msgspec does not know, {kind!r:.80}: "
            "it takes msgspec.Struct, dataclasses, TypedDict, attrs and builtin types"
        )


def _checked(name: str, decode: Decode, value: object) -> Any:  # noqa: ANN401
    try:
        return decode(value)
    except msgspec.ValidationError as error:
        raise RequestError(400, f"{name}: {error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"{name}: expected JSON") from error
