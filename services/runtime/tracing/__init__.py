"""Traces: what something came of is carried on with it, and OpenTelemetry's spans where an operator asks for them.

context     the trace in which something is done
spans       what took how long, at no cost where nobody asked
sending     whether somebody asks, and spans are sent while a process runs
exporting   spans on their way to a collector; the only place that knows OpenTelemetry
"""
