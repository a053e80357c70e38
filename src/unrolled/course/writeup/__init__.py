"""The write-up: what its answers state is computed and checked, then typeset.

Apart from the rest of the room, which the autograder's archive carries: this knows other rooms.
"""
