"""Keys and values kept between tokens.

A token being decoded sees three places: the prefix that the whole stage shares, the root that its prompt
shares with a few others, and the rest of its prompt with what its candidate has said so far; see
`models.attention.attend`.

Keys are laid out ``[row, kv head, channel, time]``, values ``[row, kv head, time, channel]``: both products
of a token being decoded then run along memory; see `models.attention.Seen`.
"""

from jaxtyping import Array

LayerCache = tuple[Array, Array]  # keys and values of one layer
Cache = tuple[LayerCache, ...]
