"""Cases: reading, overriding, refusing."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opkit.case import list_cases, load_case
from opkit.case.record import Case, parse_case
from opkit.errors import CaseError
from opkit.solvers.interface import MeshPerSample, OnMesh


@pytest.mark.parametrize("name", list_cases())
def test_every_built_in_case_is_whole(name: str) -> None:
    case = load_case(name)
    assert case.name == name
    assert case.equation and case.title and case.references
    assert parse_case(case.dump()) == case
    solver = case.build_solver()
    meshed = isinstance(solver, OnMesh | MeshPerSample)
    on_mesh = {"node", "cell"} if meshed else set()
    known = solver.coordinates().keys() | on_mesh | {"component"}
    for variable in case.inputs + case.outputs:
        assert set(variable.dims) <= known
    for recipe in case.recipes.values():
        assert recipe.expectation is None or recipe.expectation.source


def test_overrides_reach_their_place() -> None:
    case = load_case("darcy", ("solver.parameters.forcing=2e-3", "resolution=[33, 65]"))
    assert case.solver.parameters["forcing"] == 2e-3
    assert case.shape == (33, 65)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("solver.paramters=3", "unknown key 'solver.paramters'. Did you mean 'param"),
        ("recipes.fno.training.epoch=3", "Did you mean 'epochs'?"),
        ("boundary.left.kid=dirichlet", "Did you mean 'kind'?"),
        ("samples.train=-1", "samples.train: .* greater than or equal to 0, not -1"),
        ("geometry.extent.x=[1, 0]", "1.0 is not below 0.0"),
        ("geometry.kind=gird", "'grid'"),
        ("resolution=1", "resolution"),
        ("forcing", "write it as --set a.b=3"),
        ("name.x=3", "name is a value"),
        ("solver.units={forcing: m}", "no units for"),
        ("solver.parameters.forcing=[1, ", "--set solver.parameters.forcing"),
    ],
)
def test_bad_overrides_name_the_remedy(override: str, message: str) -> None:
    with pytest.raises(CaseError, match=message) as caught:
        load_case("darcy", (override,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("solver.parameters.forcin=1", "Did you mean 'forcing'?"),
        ("solver.parameters.rtol=-1", "rtol"),
        ("distribution.kind=two-phases", "two-phase"),
        ("distribution.lo=3", "Did you mean 'low'?"),
        ("solver.target=os:system", "not allowed"),
        ("solver.target=opkit.solvers.darcy:Darcyy", "Did you mean"),
    ],
)
def test_solver_faults_are_found_when_it_is_built(override: str, message: str) -> None:
    case = load_case("darcy", (override,))
    with pytest.raises(CaseError, match=message) as caught:
        case.build_solver()
    assert "\n" not in str(caught.value)


def test_unknown_case_names_the_nearest() -> None:
    with pytest.raises(CaseError, match="Did you mean 'darcy'"):
        load_case("dracy")


def test_case_from_a_path(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "cases" / "darcy.yaml").read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("name: darcy", "name: my-darcy"))
    assert load_case(str(mine)).identity == "my-darcy-v1"
    with pytest.raises(CaseError, match="No such file"):
        load_case(str(tmp_path / "absent.yaml"))
    mine.write_text("- a\n- b\n")
    with pytest.raises(CaseError, match="mapping"):
        load_case(str(mine))


def test_cases_from_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "their_cases"
    package.mkdir()
    (package / "__init__.py").write_text("")
    text = (Path(__file__).parents[2] / "cases" / "darcy.yaml").read_text()
    (package / "theirs.yaml").write_text(text.replace("name: darcy", "name: theirs"))
    info = tmp_path / "their_cases-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[opkit.cases]\ntheirs = their_cases\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "theirs" in list_cases()
    assert load_case("theirs").name == "theirs"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda child: (
        st.lists(child, max_size=4)
        | st.dictionaries(
            st.sampled_from(sorted(Case.model_fields)) | st.text(max_size=8),
            child,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(PLAIN)
def test_any_data_is_a_case_or_refused_in_one_line(data: object) -> None:
    with pytest.raises(CaseError) as caught:
        parse_case(data)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
