"""`python -m tools.grafana [--check]`: writes analytics/grafana: dashboards and alerts, made of panels of the query service.

They are made with Grafana's own typed SDK, so that what is written has Grafana's form; columns are looked up in the panels,
so that nothing asks for one that is not there.
"""
