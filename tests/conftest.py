"""The same examples in every run of the gate; `pytest --hypothesis-profile=default` looks for new ones."""

from hypothesis import settings

settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")
