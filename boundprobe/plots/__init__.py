"""Figures: functions of axes, a task and results."""
