"""The cases of the matrix, in the order in which they are told; what they have in common."""

import sys
import pathlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "node"))

CASES = []


class Case:
    def __init__(self, function, version, layout, tests, cut):
        self.function, self.version, self.layout, self.tests, self.cut = function, version, layout, tests, cut

    @property
    def name(self):
        return self.function.__name__


def case(version, layout, tests, cut=False):
    """One line of the table. `cut`: it is one of those that `make test` runs."""
    def register(function):
        CASES.append(Case(function, version, layout, tests, cut))
        return function
    return register


def went_well(result, **expected):
    assert result and not result.get("failed"), result
    for key, value in expected.items():
        assert result[key] == value, f"{key} is not {value}: {result}"
    return result


def refused(result, word, *parts):
    """It failed, changed nothing and says why."""
    assert result and result.get("failed") and not result["changed"] and result["error"] == word, result
    for part in parts:
        assert part in result["msg"], result
    return result
