"""What an owner may decide about a generation, one file per kind of decision: a situation in, a decision out.

Pure functions: the store calls them under the row's lock and writes what they answer in the same transaction.
"""
