"""What others' programs make of ours, where they are too large for every run: `make outside-checks` (run.sh).

generators  makers of API clients take the OpenAPI document whole
litellm     LiteLLM itself calls back, and every token is reported
"""
