-- Knowledge as full text: the words of a document as "stores/relational/full_text.py" gives them, without case, accents
-- and punctuation, and stemmed here. No word is left out: which ones say nothing is for a query to know. A row follows
-- its document: it is written in the same transaction, and goes with it.
CREATE TEXT SEARCH DICTIONARY english_words (TEMPLATE = snowball, LANGUAGE = english);

CREATE TEXT SEARCH CONFIGURATION words (COPY = pg_catalog.simple);

ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING FOR asciiword, word, numword WITH english_words;

-- Weights: A is the title, B the facts, C the text. "length" counts the words.
CREATE TABLE documents_text (
    sequence BIGINT PRIMARY KEY REFERENCES documents (sequence) ON DELETE CASCADE,
    host TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    words TSVECTOR NOT NULL,
    length BIGINT NOT NULL
);

CREATE INDEX documents_text_by_word ON documents_text USING GIN (words);
