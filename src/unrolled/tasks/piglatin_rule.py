"""The rule of Pig Latin, exactly: what the translator learns, and what it is scored against."""

from __future__ import annotations

from unrolled.errors import BadInput

VOWELS = frozenset("aeiou")
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")


def leading_consonants(word: str) -> int:
    """How many letters go behind: up to the first vowel, "qu" together, y a vowel but at the start.

    >>> [leading_consonants(word) for word in ("try", "yes", "square", "apple", "nth")]
    [2, 1, 3, 0, 3]
    """
    end = 0
    while end < len(word):
        if word.startswith("qu", end):
            end += 2
        elif word[end] in VOWELS or (word[end] == "y" and end > 0):
            break
        else:
            end += 1
    return end


def translate_word(word: str) -> str:
    """One lower-case word.

    >>> translate_word("translate"), translate_word("is"), translate_word("my")
    ('anslate-tray', 'is-way', 'y-may')
    """
    end = leading_consonants(word)
    return f"{word[end:]}-{word[:end]}ay" if end else f"{word}-way"


def translate(sentence: str) -> str:
    """A sentence of lower-case words with single spaces between them.

    >>> translate("translate this to pig latin")
    'anslate-tray is-thay o-tay ig-pay atin-lay'
    """
    words = sentence.split(" ")
    for word in words:
        if not word or not LETTERS.issuperset(word):
            raise BadInput(f"Pig Latin is made of lower-case words, and {word!r} is none")
    return " ".join(map(translate_word, words))
