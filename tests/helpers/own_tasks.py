"""Source of a task of one's own, to be written into a file."""

#: The body of a class: two bits, of which each is asked, in four prefixes.
TWO_BITS = """
    def prefixes(self):
        return [(a, b) for a in (0, 1) for b in (0, 1)]

    def queries(self):
        return [(2,), (3,)]

    def answer(self, prefix, query):
        return prefix[query[0] - 2]
"""
