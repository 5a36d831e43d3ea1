"""What watches Creditwell: alerts for Prometheus, written by hand, and dashboards for Grafana, made by `dashboards`."""
