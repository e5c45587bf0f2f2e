# /// script
# requires-python = ">=3.11"
# dependencies = ["hub-instructpt[local]"]
# ///
"""The general corpus of Instruction Pre-Training, for a model from scratch.

RefinedWeb (tiiuae/falcon-refinedweb, column `content`): one fifth of the texts augmented with M = 2, the rest raw; and
the fine-tuning collection of the synthesizer four times, in other words each time. The published corpus is made of
200 million texts; a small one:

    python dataset_scripts/general_corpus.py --engine http://127.0.0.1:8080 --limit 10000 --out general

Every fifth row (0, 5, 10, …) is augmented, so both halves are disjoint by row number. The source is read once, and lies
in OUT/split meanwhile. OUT/mixture is what comes out.
"""

from hub_instructpt.cli.recipes import general_corpus

if __name__ == "__main__":
    general_corpus(__doc__, source="tiiuae/falcon-refinedweb", text_column="content")
