"""The grader's own tests: `make test`, or pytest grader/tests."""
