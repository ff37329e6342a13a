"""The report: one page of results with the machine and parameters behind them.

Start at `page.py`.
"""
