"""The messages and the service of package `gradwire.v1`.

Everything beside this file is generated from `proto/gradwire/v1`: do not edit it. After a change of a .proto file run
`python proto/generate.py` and commit the result.
"""
