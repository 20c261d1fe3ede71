#!/usr/bin/env python3
# Compares the items that were acknowledged with those that were stored.
#
#   check.py ACKNOWLEDGED STORED
#
# Exits with 1 if an item was lost.

import sys


def read(path):
    try:
        with open(path) as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def compare(acknowledged, stored):
    """Returns the numbers of items: acknowledged, stored, lost."""
    acknowledged, stored = read(acknowledged), read(stored)
    return len(acknowledged), len(stored), len(set(acknowledged) - set(stored))


if __name__ == "__main__":
    acknowledged, stored, lost = compare(sys.argv[1], sys.argv[2])
    print(f"acknowledged {acknowledged}, stored {stored}, lost {lost}")
    sys.exit(lost > 0)
