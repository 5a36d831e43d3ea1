"""The OpenAPI document. Nothing in it is written by hand a second time.

document      made once, from everything else
codes         every way in which a request can fail
route_docs    what a route says of itself beyond its types
webhooks      the notices, which are only described here
typescript    its bodies as types, for the checks of the page and for the client of TypeScript
python_types  the answers as types, for the client of Python
generated     how such files are written, or compared
"""
