"""Godwit's pages inside Airflow's web server."""
