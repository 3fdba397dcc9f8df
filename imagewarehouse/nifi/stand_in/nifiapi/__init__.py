"""A stand-in for NiFi's Python extension API, written from its documentation.

It holds what the processors of this project use, and is as strict as NiFi is where NiFi is strict. The real one is
part of every NiFi installation (`python/api`); tests/test_nifiapi.py holds the two together where `NIFI_HOME` is set.
"""
