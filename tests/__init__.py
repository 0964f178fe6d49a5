import pytest

# As in test modules: a failing assert of a helper shows its values.
pytest.register_assert_rewrite("tests.helpers")
