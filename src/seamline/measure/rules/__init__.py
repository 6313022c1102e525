"""Rules of contracts as endpoints ask them: without Polars, which no request should wait for.

grammar   the language of rules over several columns     arrays    such a rule over NumPy arrays
cells     one column's values as its contract's type     patterns  for RE2, with the same meaning
"""
