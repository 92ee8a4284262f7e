"""Settings of which only some parts are sound: the checks over several fields run on what is known of them."""

import difflib
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Never, Union, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo


class UnsoundError(Exception):
    """A check needs a value that is not sound."""


class _Unsound:
    """Stands in place of a value that is not sound. Its parts are not sound either, and every use of it raises."""

    def __getattr__(self, name: str) -> "_Unsound":
        return self

    def __call__(self, *_: object, **__: object) -> "_Unsound":
        return self

    def _refuse(self, *_: object) -> Never:
        raise UnsoundError

    __bool__ = __int__ = __float__ = __index__ = __len__ = __iter__ = __str__ = __repr__ = _refuse
    __hash__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __contains__ = __getitem__ = __format__ = __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = _refuse


UNSOUND = cast("Any", _Unsound())


def build[Model: BaseModel](model: type[Model], data: object) -> Model:
    """Return data as a model in which every unsound part is `UNSOUND`."""
    return cast("Model", _build(model, data))


def similar(name: object, known: Sequence[str]) -> str:
    """Return which of the known keys a misspelt one probably means, or an empty string."""
    return next(iter(difflib.get_close_matches(str(name), known, n=1)), "")


def _build(wanted: Any, data: object) -> Any:
    try:
        return wanted.model_validate(data) if _is_model(wanted) else TypeAdapter(wanted).validate_python(data)
    except ValidationError as error:
        whole = any(not item["loc"] for item in error.errors(include_url=False, include_context=False))
    kind, inner = _plain(wanted)
    if kind is Union:
        return _build(_member(inner, data), data) if _member(inner, data) else UNSOUND
    if _is_model(kind) and isinstance(data, Mapping):
        return _model(kind, data)
    # Of a collection that is wrong as a whole, such as an empty one, nothing follows.
    if kind is Mapping and isinstance(data, Mapping) and not whole:
        # A name that is spelt wrongly is still the name under which other parts know the thing.
        return {str(key): _build(inner[1], value) for key, value in data.items()}
    if kind is tuple and isinstance(data, Sequence) and not whole:
        return tuple(_build(inner[0], value) for value in data)
    return UNSOUND


def _is_model(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, BaseModel)


def _plain(wanted: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its constraints, and what it holds."""
    while get_origin(wanted) is Annotated:
        wanted = get_args(wanted)[0]
    origin = get_origin(wanted)
    if origin is UnionType or origin is Union:
        return Union, get_args(wanted)
    return origin or wanted, get_args(wanted)


def _member(members: tuple[Any, ...], data: object) -> Any:
    """Return which type of a union the data is meant for.

    It is the one that isn't None, the one of its `kind`, or the one whose `kind` need not be given.
    """
    models = [member for member in members if member is not NoneType]
    if len(models) == 1:
        return models[0]
    kinds = [(model, model.model_fields["kind"]) for model in models]
    if not isinstance(data, Mapping) or "kind" not in data:
        return next((model for model, kind in kinds if not kind.is_required()), None)
    return next((model for model, kind in kinds if data["kind"] in get_args(kind.annotation)), None)


def _model(model: type[BaseModel], data: Mapping[Any, object]) -> BaseModel:
    known = model.model_fields
    # A key that nobody knows is perhaps meant for one that has a default: then the default is not what was wanted.
    meant = {similar(key, list(known)) for key in data if key not in known}
    values = {
        name: _build(_type(field), data[name])
        if name in data
        else UNSOUND
        if field.is_required() or name in meant
        else field.get_default(call_default_factory=True)
        for name, field in known.items()
    }
    return model.model_construct(**values)


def _type(field: FieldInfo) -> Any:
    wanted: Any = field.annotation
    for constraint in field.metadata:
        wanted = Annotated[wanted, constraint]
    return wanted
