"""InstructRec: recommendation as instruction tuning of a language model, one idea per module.

The chapters of the book import this package; nothing heavy is imported here, so that `import instructrec` is quick.
"""

__version__ = "0.1.0"
