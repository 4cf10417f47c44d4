"""The structure that docs/architecture.md and CONTRIBUTING.md describe."""

import ast
import configparser
import graphlib
import importlib.util
import re

import grimp
import pytest
from paths import ROOT

INTEGRATIONS = sorted(path.name for path in (ROOT / "integrations").iterdir() if (path / "__init__.py").exists())
PUBLIC = {
    "errors",
    "types",
    "alignment",
    "agreement",
    "backends",
    "bench",
    "cases",
    "conversations",
    "gate",
    "tables",
    "judging",
    "ranking",
}


@pytest.fixture(scope="module")
def graph():
    packages = ["rewardanything_core", *INTEGRATIONS]
    return grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)


def layers_script():
    spec = importlib.util.spec_from_file_location("layers", ROOT / "docs" / "_layers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_modules_import_each_other_in_a_circle(graph):
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 150
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"Modules import each other in a circle: {' -> '.join(error.args[1])}")


def test_a_circle_would_be_found():
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


def test_the_layers_are_folders_and_ignore_nothing():
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    contract = config["importlinter:contract:layers"]
    assert "ignore_imports" not in contract
    assert contract["exhaustive"] == "True"
    listed = set(re.findall(r"\((\w+)\)", contract["layers"]))
    package = ROOT / "rewardanything_core"
    actual = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    actual |= {path.stem for path in package.glob("*.py") if path.stem != "__init__"}
    assert listed == actual


def test_the_table_of_layers_is_generated_from_the_contract():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert layers_script().with_table(contributing) == contributing, "run `python docs/_layers.py`"


def test_the_architecture_page_names_every_folder():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "rewardanything_core"
    folders = [path.parent.relative_to(package) for path in package.rglob("__init__.py") if path.parent != package]
    missing = [str(folder) for folder in folders if f"`{folder.as_posix()}/`" not in page]
    assert missing == []
    for named in re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", page):
        assert (package / named).exists() or (ROOT / named).exists(), named


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_integrations_use_public_packages_of_the_core_and_never_each_other(integration):
    for path in (ROOT / "integrations" / integration).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            for module in modules:
                package, _, rest = module.partition(".")
                assert package == integration or package not in INTEGRATIONS, (path.name, module)
                if package == "rewardanything_core" and rest:
                    assert rest.partition(".")[0] in PUBLIC, (path.name, module)


def test_test_modules_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def undocumented(path):
    """Public functions of two parameters or more whose docstring neither has ``Args:`` nor refers to another one's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = [tree, *[node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]]
    for owner in owners:
        of_owner = ast.get_docstring(owner) or ""
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            parameters = [each for each in given if each.arg not in ("self", "cls")]
            doc = (ast.get_docstring(node) or "") + (of_owner if node.name == "__init__" else "")
            documented = "Args:" in doc or re.search(r"^`|[Ss]ee `", doc)
            is_public = not node.name.startswith("_") or node.name == "__init__"
            is_fixture = any("fixture" in ast.unparse(each) for each in node.decorator_list)
            if is_public and len(parameters) > 1 and not documented and not is_fixture:
                yield f"{path.name}:{node.lineno} {node.name}"


def test_public_functions_with_several_parameters_document_them():
    files = [*(ROOT / "rewardanything_core").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")]
    # The docstrings of commands are what --help prints; their options have texts of their own.
    commands = [path for path in (ROOT / "rewardanything_core" / "cli").glob("[a-z]*.py") if path.stem != "app"]
    assert [each for path in files if path not in commands for each in undocumented(path)] == []
