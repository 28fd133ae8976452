"""The structure, as a test: who may import whom, no draw from a global random stream, no pickle, no vague names.

`LAYERS` is also the documentation of the import direction. `python tests/test_structure.py` prints the longest files
and functions: places to look at, not failures.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "seqloom"

# Imports go up this list only, and never sideways. The files of the package's root are the top.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("sequence",),
    ("kernels",),
    ("codecs", "mixers", "processes", "samplers"),
    ("network", "corpora"),
    ("training", "metrics", "given", "limits"),
    ("model_words",),
    ("recipe",),
    ("advisor", "estimate"),
    ("run",),
    ("engine",),
    ("filler",),
    ("several", "classifying", "histories"),
    ("model",),
    ("rolling", "resuming"),
    ("planning", "validation", "calibration", "chat"),
    ("fit", "evaluation"),
    ("quantizing",),
    ("cli",),
    ("__init__", "__main__"),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
SIDEWAYS = {("evaluation", "fit")}  # comparing trains
USERS_OF_KERNELS = {"kernels", "mixers", "processes", "samplers", "network"}
VERSION = "__version__"  # the one name of the root that everybody may read

PICKLES = {"pickle", "pickletools", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
OPTIONAL = {
    ("evaluation", "baselines", "statistical", "statsforecast"),
    ("metrics", "likeness", "sacrebleu"),
    ("corpora", "search", "bm25s"),
}
"""What an extra installs, and the one file that imports it, where it is asked for."""
READS_OPCODES = {
    ("codecs", "npz", "pickletools")
}  # interprets what NumPy writes for arrays, and imports and calls none of it
FORBIDDEN = {
    **dict.fromkeys(("torch.save", "torch.load", "torch.package"), "writes or reads a pickle"),
    **dict.fromkeys(("yaml.unsafe_load", "yaml.full_load", "yaml.UnsafeLoader"), "runs what a YAML file says"),
    **dict.fromkeys(("torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all"), ""),
    **dict.fromkeys(("torch.random", "torch.set_rng_state", "torch.default_generator"), ""),
    **dict.fromkeys(("torch.nn.functional.gumbel_softmax", "torch.nn.functional.rrelu", "torch.nn.RReLU"), ""),
}
DROPOUTS = re.compile(r"torch\.(nn\.(functional\.)?)?(feature_)?(alpha_|Alpha)?(dropout|Dropout)(\dd)?_?")
DRAWS = re.compile(
    r"torch\.(rand|randn|randint|randperm|rand_like|randn_like|randint_like|bernoulli|multinomial|normal|poisson"
    r"|binomial)|torch\.nn\.init\.(uniform|normal|trunc_normal|xavier_\w+|kaiming_\w+|orthogonal|sparse)_"
)
METHODS = {"normal_", "uniform_", "bernoulli_", "random_", "exponential_", "cauchy_", "geometric_", "log_normal_"}
AMBIGUOUS = {"bernoulli", "multinomial"}  # of a tensor they draw from the global stream, of a generator they do not
OWN_STREAM = re.compile(r"rng|generator|stream")
DROPPING_MODULES = re.compile(r"torch\.nn\.(RNN|LSTM|GRU|MultiheadAttention|Transformer\w*)")
NUMPY_STREAMS = {
    *("Generator", "default_rng", "BitGenerator", "SeedSequence"),
    *("Philox", "PCG64", "PCG64DXSM", "SFC64", "MT19937"),
}
NO_VALUES = {"run", "model", "engine", "metrics", "fit", "validation", "advisor", "evaluation"}
"""Parts in which a thing called a value is a codec's, and never a setting."""
NO_CODECS = {"base", "season"}
"""Modules beside the codecs that are none."""
KINDS = re.compile(r"\b(unit|codec\.name)$")
VALUES = re.compile(r"\b(value|values|template|history|prefix|content|sample|piece)(\[.*\])?$")
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "handler", "handlers"}
VAGUE_FILES = {*VAGUE, "common", "misc"}


class Module:
    """One file, parsed, with the dotted names that its imports give to its words."""

    def __init__(self, path: Path, package: Path) -> None:
        self.path = path.relative_to(package.parent)
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text, str(path))
        self.package, self.parts = package, path.relative_to(package).with_suffix("").parts
        self.part = self.parts[0]
        self.names = {name: target for _, name, target in self.imports() if name}

    def imports(self) -> Iterator[tuple[int, str, str]]:
        """Each import as (line, the name it binds, the dotted thing imported)."""
        name_parts = (self.package.name, *self.parts)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.split(".")[0]
                    yield node.lineno, bound if alias.asname else "", alias.name
                    if not alias.asname:
                        yield node.lineno, bound, bound
            elif isinstance(node, ast.ImportFrom):
                base = ".".join(
                    [*(name_parts[: len(name_parts) - node.level] if node.level else ()), *filter(None, [node.module])]
                )
                for alias in node.names:
                    yield node.lineno, alias.asname or alias.name, f"{base}.{alias.name}"
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                for named in node.args[:1]:
                    if isinstance(named, ast.Constant) and isinstance(named.value, str):
                        yield node.lineno, "", named.value

    def dotted(self, node: ast.expr) -> str:
        """What an expression such as `F.dropout` names, in full; empty where it is no imported thing."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""


def wrong_imports(module: Module, libraries: set[str]) -> Iterator[tuple[int, str]]:
    """Imports that go down or sideways, of what is not installed with the package, or of what writes pickles."""
    if module.part not in LEVEL:
        yield 1, f"{module.part} is not in the table of layers"
        return
    for line, _, target in module.imports():
        top, *rest = target.split(".")
        if top in PICKLES and (*module.parts, top) not in READS_OPCODES:
            yield line, f"{top} is a pickle, or as unsafe"
        elif top == "random":
            yield line, "the module random draws from a global stream"
        elif top == module.package.name:
            yield from ((line, reason) for reason in wrong_layer(module, rest))
        elif (*module.parts, top) in OPTIONAL:
            continue
        elif top not in libraries and top not in sys.stdlib_module_names:
            yield line, f"{top} is no dependency of pyproject.toml"


def wrong_layer(module: Module, rest: list[str]) -> Iterator[str]:
    part, imported = module.part, rest[0] if rest and rest[0] in LEVEL else "__init__"
    known = rest and ((module.package / rest[0]).is_dir() or (module.package / f"{rest[0]}.py").is_file())
    if known and rest[0] not in LEVEL:
        yield f"{rest[0]} is not in the table of layers"
    elif rest == [VERSION] or not rest or part == imported or (part, imported) in SIDEWAYS:
        return
    elif imported == "kernels" and part not in USERS_OF_KERNELS:
        yield f"{part} must not import kernels, which only mixers, processes, samplers and network do"
    elif LEVEL[imported] >= LEVEL[part]:
        yield f"{part} must not import {imported if imported != '__init__' else 'the root of the package'}"


def global_draws(module: Module) -> Iterator[tuple[int, str]]:
    """What draws from, seeds or reads a global random stream, and what unpickles."""
    called = {id(node.func) for node in ast.walk(module.tree) if isinstance(node, ast.Call)}
    distributions = any(target.startswith("torch.distributions") for _, _, target in module.imports())
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            dotted = module.dotted(node)
            package = dotted.rpartition(".")[0] if isinstance(node, ast.Name) else ""  # from torch.random import ...
            if dotted in FORBIDDEN or package in FORBIDDEN:
                why = FORBIDDEN.get(dotted) or FORBIDDEN.get(package) or "belongs to the global random stream"
                yield node.lineno, f"{dotted} {why}"
            elif DROPOUTS.fullmatch(dotted):
                yield node.lineno, f"{dotted} draws from the global random stream"
            elif DRAWS.fullmatch(dotted) and id(node) not in called:
                yield node.lineno, f"{dotted} is handed on without a generator"
            elif dotted.startswith("numpy.random.") and dotted.split(".")[2] not in NUMPY_STREAMS:
                yield node.lineno, f"{dotted} draws from the global random stream"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, reason) for reason in drawing_call(module, node, distributions))


def drawing_call(module: Module, call: ast.Call, distributions: bool) -> Iterator[str]:
    dotted, keywords = module.dotted(call.func), {word.arg: word.value for word in call.keywords}
    given = keywords.get("generator")
    keyed = given is not None and not is_constant(given, None)
    method = call.func.attr if isinstance(call.func, ast.Attribute) and not dotted else ""
    if DRAWS.fullmatch(dotted) and not keyed:
        yield f"{dotted} without generator= draws from the global random stream"
    elif dotted in {"numpy.random.default_rng", "numpy.random.SeedSequence"} and not (call.args or call.keywords):
        yield f"{dotted} without a seed cannot be repeated"
    elif not keyed and (method in METHODS or (method in AMBIGUOUS and not OWN_STREAM.search(ast.unparse(call.func)))):
        yield f".{method} without generator= draws from the global random stream"
    elif distributions and method in {"sample", "rsample"}:
        yield f".{method} of torch.distributions draws from the global random stream"
    if DROPPING_MODULES.fullmatch(dotted) and "dropout" in keywords and not is_constant(keywords["dropout"], 0):
        yield f"dropout= of {dotted} draws from the global random stream"
    if re.search(r"Transformer\w*(En|De)coderLayer|nn\.Transformer", dotted) and "dropout" not in keywords:
        yield f"{dotted} drops out a tenth from the global random stream unless dropout=0.0"
    if "dropout_p" in keywords and not is_constant(keywords["dropout_p"], 0):
        yield "dropout_p= draws from the global random stream"
    if "weights_only" in keywords and not is_constant(keywords["weights_only"], True):
        yield "weights_only= must be True"
    if "allow_pickle" in keywords and not is_constant(keywords["allow_pickle"], False):
        yield "allow_pickle= must be False"


def is_constant(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def modalities(module: Module) -> Iterator[tuple[int, str]]:
    """What asks, outside codecs, which kind of data it deals with."""
    if module.part == "codecs":
        return
    for line, _, target in module.imports():
        package, *rest = target.split(".")
        if package == module.package.name and rest[:1] == ["codecs"] and rest[1:] and rest[1] not in NO_CODECS:
            yield line, f"{target} is a codec of its own: ask Codec, or name none"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asked = [ast.unparse(side) for side in sides if KINDS.search(ast.unparse(side))]
            if asked and any(isinstance(part, ast.Constant) for side in sides for part in [side, *_listed(side)]):
                yield node.lineno, f"{asked[0]} is compared with a word: ask the codec what is wanted of it"
        elif isinstance(node, ast.Match) and KINDS.search(ast.unparse(node.subject)):
            yield node.lineno, f"{ast.unparse(node.subject)} is compared with words: ask the codec what is wanted of it"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance" and module.part in NO_VALUES:
            thing, kinds = (ast.unparse(part) for part in node.args)
            if VALUES.search(thing) and {"str", "bytes", "Table", "Drawing"} & set(re.findall(r"\w+", kinds)):
                yield node.lineno, f"{ast.unparse(node)} asks what kind of value it is: ask the codec"


def _listed(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []


def vague_names(module: Module) -> Iterator[tuple[int, str]]:
    """Names that say nothing of what a thing is for."""
    for part in module.parts:
        if words(part) & VAGUE_FILES:
            yield 1, f"{part} is no name for a file"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and words(node.name) & VAGUE:
            yield node.lineno, f"{node.name} says nothing of what it is for"


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def modules(package: Path) -> list[Module]:
    return [Module(path, package) for path in sorted(package.rglob("*.py"))]


def problems(package: Path, libraries: set[str]) -> list[str]:
    """Everything that breaks the structure, as `file:line: reason`."""
    return [
        f"{module.path}:{line}: {reason}"
        for module in modules(package)
        for breaches in (
            wrong_imports(module, libraries),
            global_draws(module),
            vague_names(module),
            modalities(module),
        )
        for line, reason in sorted(set(breaches))
    ]


def dependencies() -> set[str]:
    """The modules of the libraries that are installed with the package, and of what these bring for their users."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {re.split(r"[<>=!~\[; ]", wanted)[0].lower() for wanted in project["dependencies"]}
    return {"yaml" if name == "pyyaml" else name for name in listed} | {"pydantic_core", "typing_extensions"}


def lengths(package: Path, longest_file: int = 350, longest_function: int = 50) -> list[str]:
    """Files and functions that want a reason for their length, the longest first."""
    long_parts = []
    for module in modules(package):
        size = module.text.count("\n")
        long_parts += [(size, f"{module.path}: {size} lines")] if size > longest_file else []
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > longest_function:
                    long_parts.append((size, f"{module.path}:{node.lineno}: {node.name} has {size} lines"))
    return [line for _, line in sorted(long_parts, reverse=True)]


# ---- the package ----------------------------------------------------------------------------------------------------


def test_the_package_keeps_its_structure() -> None:
    assert modules(PACKAGE), f"no Python files under {PACKAGE}"
    broken = problems(PACKAGE, dependencies())
    assert not broken, "\n".join(["the structure is broken:", *broken])


def test_import_and_help_are_quick_because_they_import_no_torch() -> None:
    script = """
import json, runpy, sys
import seqloom
found = {"import": "torch" in sys.modules}
sys.argv = ["seqloom", "--help"]
try:
    runpy.run_module("seqloom", run_name="__main__")
except SystemExit as stop:
    found["code"] = stop.code or 0
found["help"] = "torch" in sys.modules
print(json.dumps(found), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == {"import": False, "code": 0, "help": False}
    assert "Usage" in done.stdout


def test_a_network_is_made_without_the_compiler_of_torch() -> None:
    """Importing it takes longer than all else that happens before a first sample."""
    script = """
import sys
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.sequence.space import Tokens
space = Tokens(size=4)
Network(Backbone(width=8, tie=True), Autoregressive().spec(space), space, 8, {})
print(sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_the_shapes_that_functions_promise_are_held_in_tests() -> None:
    import torch
    from jaxtyping import TypeCheckError

    from seqloom.sequence.batch import Condition

    x = torch.zeros(2, 3, dtype=torch.int64)
    Condition(x=x, present=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(TypeCheckError, match="present"):
        Condition(x=x, present=torch.ones(2, 4, dtype=torch.bool))


# ---- the checker itself, on planted violations ----------------------------------------------------------------------

PLANTED = [
    ("core/a.py", "from seqloom.sequence import space", "core must not import sequence"),
    ("core/a.py", "def late():\n    import seqloom.cli.main", "core must not import cli"),
    ("core/a.py", "from seqloom import model", "core must not import model"),
    ("core/a.py", "from seqloom import load", "core must not import the root of the package"),
    ("core/a.py", "import importlib\nimportlib.import_module('seqloom.codecs')", "core must not import codecs"),
    ("mixers/a.py", "from ..processes.base import Process", "mixers must not import processes"),
    ("mixers/a.py", "import seqloom.samplers as s", "mixers must not import samplers"),
    ("network/a.py", "from seqloom.corpora import base", "network must not import corpora"),
    ("training/a.py", "from seqloom.kernels import scan", "training must not import kernels"),
    ("fit.py", "from seqloom.evaluation import compare", "fit must not import evaluation"),
    ("engine.py", "from seqloom.model import Model", "engine must not import model"),
    ("evaluation/a.py", "from seqloom import cli", "evaluation must not import cli"),
    ("oddments/a.py", "", "oddments is not in the table"),
    ("core/a.py", "import scipy.stats", "scipy is no dependency"),
    ("core/a.py", "import random", "random draws from a global stream"),
    ("core/a.py", "from random import shuffle", "random draws from a global stream"),
    ("core/a.py", "import pickle", "pickle is a pickle"),
    ("core/a.py", "from torch import save\nsave(1, 2)", "torch.save writes or reads a pickle"),
    ("core/a.py", "import torch\nread = torch.load", "torch.load writes or reads a pickle"),
    ("core/a.py", "read('x', weights_only=False)", "weights_only= must be True"),
    ("codecs/npz.py", "import pickle", "pickle is a pickle"),
    ("codecs/a.py", "import pickletools", "pickletools is a pickle"),
    ("core/a.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle= must be False"),
    ("core/a.py", "import torch\ntorch.manual_seed(0)", "torch.manual_seed belongs to the global"),
    ("core/a.py", "from torch.random import fork_rng\nx = fork_rng", "fork_rng belongs to the global"),
    ("core/a.py", "import torch as t\nx = t.randn(3)", "torch.randn without generator="),
    ("core/a.py", "import torch\nx = torch.rand(3, generator=None)", "torch.rand without generator="),
    ("core/a.py", "from torch import randn_like\nf = [randn_like]", "torch.randn_like is handed on"),
    ("core/a.py", "import torch\nx = torch.multinomial(p, 1)", "torch.multinomial without generator="),
    ("core/a.py", "x.normal_(0, 1)", ".normal_ without generator="),
    ("core/a.py", "x.data.uniform_()", ".uniform_ without generator="),
    ("core/a.py", "weights.multinomial(1)", ".multinomial without generator="),
    ("core/a.py", "from torch.nn import init\ninit.xavier_uniform_(w)", "xavier_uniform_ without generator="),
    ("core/a.py", "from torch import nn\nnn.init.trunc_normal_(w, std=0.02)", "trunc_normal_ without generator="),
    ("core/a.py", "import torch.nn.functional as F\nx = F.dropout(x)", "functional.dropout draws from"),
    ("core/a.py", "from torch import nn\nx = nn.Dropout(0.1)", "torch.nn.Dropout draws from"),
    ("core/a.py", "from torch.nn import Dropout2d as Drop\nx = Drop()", "torch.nn.Dropout2d draws from"),
    ("core/a.py", "attend(q, k, v, dropout_p=0.1)", "dropout_p= draws from"),
    ("core/a.py", "from torch import nn\nnn.LSTM(8, 8, dropout=rate)", "dropout= of torch.nn.LSTM draws from"),
    ("core/a.py", "from torch import nn\nnn.TransformerEncoderLayer(8, 1)", "unless dropout=0.0"),
    ("core/a.py", "from torch import distributions as d\nd.Normal(0, 1).sample()", ".sample of torch.distributions"),
    ("core/a.py", "import numpy as np\nnp.random.normal()", "numpy.random.normal draws from"),
    ("core/a.py", "from numpy.random import seed\nseed(0)", "numpy.random.seed draws from"),
    ("core/a.py", "from numpy import random\nrandom.default_rng()", "default_rng without a seed"),
    ("core/utils.py", "", "utils is no name for a file"),
    ("corpora/a.py", "from seqloom.codecs.text import Characters", "seqloom.codecs.text.Characters is a codec"),
    ("cli/a.py", "def f(codec):\n    from seqloom.codecs import table", "seqloom.codecs.table is a codec"),
    ("cli/a.py", "if codec.unit == 'byte':\n    pass", "codec.unit is compared with a word"),
    ("run.py", "text = 'byte' != score.unit", "score.unit is compared with a word"),
    ("fit.py", "x = self.codec.name in {'series', 'whiten'}", "self.codec.name is compared with a word"),
    ("fit.py", "match codec.unit:\n    case 'byte':\n        pass", "codec.unit is compared with words"),
    ("model.py", "if isinstance(value, str):\n    pass", "asks what kind of value it is"),
    ("evaluation/a.py", "text = isinstance(answer.values[0], bytes | str)", "asks what kind of value it is"),
    ("core/a.py", "class RunManager:\n    pass", "RunManager says nothing"),
    ("core/a.py", "def signal_handler():\n    pass", "signal_handler says nothing"),
]
ALLOWED = [
    ("codecs/npz.py", "import pickletools"),
    ("codecs/a.py", "from seqloom.codecs.text import Text\nx = isinstance(value, str)\ny = codec.unit == 'byte'"),
    ("evaluation/a.py", "from seqloom.codecs.base import Codec\nx = first.codec.unit != other.codec.unit"),
    ("planning.py", "x = isinstance(value, str)"),
    ("core/a.py", "from seqloom import __version__\nimport seqloom.core.errors\nfrom . import errors\nimport torch"),
    ("samplers/a.py", "from seqloom.kernels import scan\nfrom seqloom.sequence.space import Space\nimport yaml"),
    ("evaluation/a.py", "from seqloom.fit import fit\nfrom seqloom.model import Model\nfrom .report import page"),
    ("cli/a.py", "import seqloom\nfrom seqloom.quantizing import quantize\nfrom seqloom.evaluation import compare"),
    ("__init__.py", "def load(run):\n    from seqloom.model import Model\n    return Model"),
    ("core/a.py", "import torch\nx = torch.randn(3, generator=g)\nx.normal_(generator=g)\nk = rng.multinomial(3, p)"),
    ("core/a.py", "import numpy as np\nr = np.random.default_rng(7)\nx = r.normal()\nnp.random.Generator(bits)"),
    ("core/a.py", "from torch import nn\nnn.LSTM(8, 8)\nnn.init.zeros_(w)\nattend(q, k, v, dropout_p=0.0)"),
    ("core/a.py", "import contextlib, torch\nanswer = model.sample()\n@contextlib.contextmanager\ndef held(): yield"),
]


def planted(folder: Path, name: str, source: str) -> list[str]:
    package = folder / "seqloom"
    for path, text in [("model.py", ""), ("codecs/__init__.py", ""), (name, source)]:
        file = package / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    return problems(package, dependencies())


@pytest.mark.parametrize(("name", "source", "reason"), PLANTED, ids=[row[2] for row in PLANTED])
def test_a_planted_violation_is_found_with_its_place(tmp_path: Path, name: str, source: str, reason: str) -> None:
    reported = planted(tmp_path, name, source)
    assert len(reported) == 1, reported
    location, message = reported[0].split(": ", 1)
    assert location.startswith(f"seqloom/{name}:")
    assert int(location.rsplit(":", 1)[1]) in {1, source.count("\n") + 1}
    assert reason in message


@pytest.mark.parametrize(("name", "source"), ALLOWED, ids=[row[0] for row in ALLOWED])
def test_what_is_allowed_is_not_reported(tmp_path: Path, name: str, source: str) -> None:
    assert planted(tmp_path, name, source) == []


def test_the_report_of_lengths_finds_what_is_long(tmp_path: Path) -> None:
    body = "def long():\n" + "    x = 1\n" * 400
    planted(tmp_path, "core/a.py", body + "def short():\n    return 1")
    reported = lengths(tmp_path / "seqloom")
    assert reported == ["seqloom/core/a.py: 403 lines", "seqloom/core/a.py:1: long has 401 lines"]


if __name__ == "__main__":
    print("\n".join(lengths(PACKAGE)) or "no file past 350 lines, no function past 50")
