"""Every registry has a contract, and none of them lets an entry pass without settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.registries import check_settings, promises, registries

CONTRACTS = {
    "budget measure": "contract/test_budgets.py",
    "calibration metric": "fairness/inference/test_calibration.py",
    "criterion": "contract/test_criteria.py",
    "data set": "contract/test_data_sets.py",
    "degradation metric": "contract/test_metrics.py",
    "fairness notion": "contract/test_cells.py",
    "method": "contract/test_methods.py",
    "metric": "contract/test_metrics.py",
    "model": "contract/test_models.py",
}


def test_every_registry_has_a_contract() -> None:
    assert {"method", "criterion", "metric", "data set", "model"} <= set(registries())
    for kind in registries():
        assert kind in CONTRACTS, (
            f"the registry of {kind}s has no contract: write what all of them promise in"
            " tests/contract/ and name the file in CONTRACTS"
        )
        assert (Path(__file__).parents[1] / CONTRACTS[kind]).is_file()


@pytest.mark.parametrize("kind", registries())
def test_names_are_told_in_full_and_with_the_nearest(kind: str) -> None:
    registry = registries()[kind]
    name = next(iter(registry))
    with pytest.raises(ValueError, match=rf"unknown {kind} '{name}x' \(did you mean '") as caught:
        registry[f"{name}x"]
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in registry)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register(name)


def test_an_entry_without_settings_fails_and_says_where_to_add_them() -> None:
    assert promises("model", "mlp", {"mlp": 1}, "test_models.py") == 1
    told = r"model 'new' is registered and has no settings.*contract/test_models\.py"
    with pytest.raises(AssertionError, match=told):
        promises("model", "new", {"mlp": 1}, "test_models.py")
    with pytest.raises(AssertionError, match=told):
        check_settings("model", ["mlp", "new"], {"mlp": 1}, "test_models.py")
    with pytest.raises(AssertionError, match="no model is called old: remove it"):
        check_settings("model", ["mlp"], {"mlp": 1, "old": 1}, "test_models.py")
