"""Mutation testing: one small change of a rule at a time, and whether any test notices.

mutants    the changes that there are of a module's source
trial      one mutant: a process of its own, in which the module is the changed one, runs tests until one fails
__main__   `python -m tests.mutation`: all mutants of the rules, on all processors; who survives is printed
"""
