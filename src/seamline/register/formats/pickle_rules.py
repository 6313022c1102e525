"""Which globals a pickled model may take, format by format, and what is plainly dangerous.

The list is of names only: a pickle that keeps to it still runs code of the libraries it names, so
the verdict is "arbitrary code" whatever this says. What it is for: nothing that starts processes,
opens files or the network, or evaluates text comes in, not even where pickles are admitted.
"""

from __future__ import annotations

from seamline.register.formats.kinds import ModelFormat
from seamline.register.formats.pickle_machine import ARRAY_WRAPPER, Global

#: Whatever their names are, nothing of these has a place in a model.
DANGEROUS_MODULES = frozenset(
    {"_io", "_pickle", "_posixsubprocess", "_thread", "_xxsubinterpreters", "ast", "asyncio"}
    | {"atexit", "bdb", "code", "codeop", "commands", "concurrent", "cProfile", "ctypes", "dill"}
    | {"distutils", "doctest", "faulthandler", "fcntl", "ftplib", "gc", "glob", "http", "imp"}
    | {"importlib", "inspect", "io", "linecache", "logging", "marshal", "mmap", "multiprocessing"}
    | {"nt", "ntpath", "operator", "os", "pathlib", "pdb", "pickle", "pip", "pkgutil", "platform"}
    | {"posix", "posixpath", "profile", "pty", "pydoc", "requests", "resource", "runpy", "select"}
    | {"setuptools", "shelve", "shutil", "signal", "site", "smtplib", "socket", "socketserver"}
    | {"sqlite3", "ssl", "subprocess", "sys", "sysconfig", "tempfile", "test", "threading"}
    | {"timeit", "trace", "unittest", "urllib", "venv", "webbrowser", "xmlrpc", "zipimport"}
)
_BUILTINS = ("builtins", "__builtin__")
_DANGEROUS_BUILTINS = frozenset(
    {"__import__", "apply", "breakpoint", "compile", "delattr", "eval", "exec", "execfile"}
    | {"exit", "file", "getattr", "globals", "help", "input", "locals", "memoryview", "open"}
    | {"print", "property", "quit", "reload", "setattr", "super", "vars"}
)
_PLAIN_BUILTINS = frozenset(
    {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"}
    | {"long", "object", "range", "set", "slice", "str", "tuple", "unicode", "xrange", "Ellipsis"}
)
_PLAIN = frozenset(
    {"collections.Counter", "collections.OrderedDict", "collections.defaultdict"}
    | {"collections.deque", "copyreg._reconstructor", "copy_reg._reconstructor"}
    | {"_codecs.encode", "datetime.date", "datetime.datetime", "datetime.time"}
    | {"datetime.timedelta", "datetime.timezone", "decimal.Decimal", "fractions.Fraction"}
    | {"types.SimpleNamespace", "uuid.UUID"}
)
#: Lower-case names of numpy that pickles of arrays, numbers and generators need.
_NUMPY = frozenset(
    {"_reconstruct", "scalar", "_frombuffer", "ndarray", "dtype", "_ufunc_reconstruct"}
    | {"__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor", "bool", "bool_", "str_"}
    | {"bytes_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "intc"}
    | {"intp", "uintp", "longlong", "ulonglong", "float16", "float32", "float64", "longdouble"}
    | {"complex64", "complex128", "datetime64", "timedelta64", "void", "object_", "recarray"}
)
_NUMPY_UFUNCS = frozenset(
    {"abs", "absolute", "cbrt", "cos", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2"}
    | {"maximum", "minimum", "reciprocal", "sign", "sin", "sqrt", "square", "tan", "tanh"}
)
_ARRAY_MODULES = ("numpy", "numpy.core", "numpy._core", "numpy.random")
#: Their classes only: a name that begins with a large letter.
_LIBRARIES = frozenset(
    {"catboost", "imblearn", "lightgbm", "numpy", "pandas", "polars", "scipy", "sklearn"}
    | {"statsmodels", "xgboost"}
)
#: … and what their compiled parts call to make an object again.
_MAKERS = frozenset({"newObj", "_unpickle_block", "_new_Index", "new_block", "__newobj__"})
#: Parts of these libraries that run, fetch or open things.
_REFUSED_PARTS = frozenset(
    {"_testing", "ctypeslib", "datasets", "distutils", "externals", "f2py", "io", "npyio"}
    | {"testing", "tests", "_testutils", "_build_utils", "computation", "clipboard"}
)
_CLOUDPICKLE = frozenset(
    {"_builtin_type", "_class_setstate", "_function_setstate", "_make_cell", "_make_dict_items"}
    | {"_make_dict_keys", "_make_dict_values", "_make_empty_cell", "_make_function"}
    | {"_make_skeleton_class", "_make_skeleton_enum", "_make_typevar", "dynamic_subimport"}
    | {"subimport", "_get_dataclass_field_type_sentinel", "_empty_cell_value"}
)
#: Called with the name of a module, which is imported.
IMPORTER = "subimport"


def why_refused(found: Global, form: ModelFormat) -> str:
    """Empty when the format's list has it.

    >>> why_refused(Global("posix", "system"), ModelFormat.PICKLE)
    'dangerous'
    >>> why_refused(Global("numpy", "float64"), ModelFormat.PICKLE)
    ''
    >>> why_refused(Global("sklearn.svm._classes", "SVC.__init__"), ModelFormat.JOBLIB)
    'dangerous: a path through attributes'
    >>> why_refused(Global("__main__", "Mine"), ModelFormat.PICKLE)
    'not on the list of pickle'
    """
    if "." in found.name:
        return "dangerous: a path through attributes"
    if is_dangerous_module(found.module):
        return "dangerous"
    if found.module in _BUILTINS and found.name in _DANGEROUS_BUILTINS:
        return "dangerous"
    if is_listed(found, form):
        return ""
    return f"not on the list of {form}"


def is_dangerous_module(module: str) -> bool:
    return module.partition(".")[0] in DANGEROUS_MODULES


def is_listed(found: Global, form: ModelFormat) -> bool:
    parts = found.module.split(".")
    if found.module in _BUILTINS:
        is_class = form is ModelFormat.CLOUDPICKLE and found.name == "type"
        return is_class or found.name in _PLAIN_BUILTINS
    if str(found) in _PLAIN:
        return True
    if parts[0] == "joblib":
        return form is ModelFormat.JOBLIB and str(found) == ARRAY_WRAPPER
    if parts[0] == "cloudpickle":
        return form is ModelFormat.CLOUDPICKLE and found.name in _CLOUDPICKLE
    if form is ModelFormat.CLOUDPICKLE and str(found) == "types.CodeType":
        return True
    return _is_of_library(parts, found.name)


def _is_of_library(parts: list[str], name: str) -> bool:
    if parts[0] not in _LIBRARIES or _REFUSED_PARTS & {*parts, name}:
        return False
    if name.lstrip("_")[:1].isupper() or name in _MAKERS or name.startswith("__pyx_unpickle_"):
        return True
    below = ".".join(parts)
    is_array = below in _ARRAY_MODULES or below.startswith(("numpy.core.", "numpy._core."))
    is_random = parts[:2] == ["numpy", "random"]
    return (is_array or is_random) and (name in _NUMPY or name in _NUMPY_UFUNCS)
