"""Text-generation servers that work by the clock: continuous batching without a model, over real HTTP.

    python -m benchmarks.simulator --servers 4 [--kind tgi|openai] [--slow 4] [--die-after 2000] …

`model` is the arithmetic: what a step takes, which requests it carries, and how long a perfect client would need.
`served` puts it behind sockets. What they answer is filler, and says nothing about synthesis.
"""
