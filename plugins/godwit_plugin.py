"""Godwit's plugin for projects that mount this folder instead of installing the wheel."""

from godwit.airflow.plugin import GodwitPlugin

__all__ = ["GodwitPlugin"]
