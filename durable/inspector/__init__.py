"""Questions and actions on objects, for operators: the admin, the REST API and the command line ask through here.

Looking wakes nothing: an active object's worker answers beside its queue, and of a sleeping object a copy of its file
is read.
"""

from .asking import aask, ask
from .inspector import Inspector, Shown, Tables
from .records import (
    Page,
    Record,
    decode_position,
    encode_position,
    list_records,
    records_of_id,
    stored_classes,
)
from .targets import class_keys, find_class, find_object
from .troubles import TroubleRecord, list_troubles
from .values import jsonable

__all__ = [
    "Inspector",
    "Page",
    "Record",
    "Shown",
    "Tables",
    "TroubleRecord",
    "aask",
    "ask",
    "class_keys",
    "decode_position",
    "encode_position",
    "find_class",
    "find_object",
    "jsonable",
    "list_records",
    "list_troubles",
    "records_of_id",
    "stored_classes",
]
