"""The cases of the matrix."""

CASES = []


def case(version, layout, tests):
    def register(function):
        CASES.append((function, version, layout, tests))
        return function
    return register
