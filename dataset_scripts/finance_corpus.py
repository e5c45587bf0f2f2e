# /// script
# requires-python = ">=3.11"
# dependencies = ["hub-instructpt[local]"]
# ///
"""The finance corpus of Instruction Pre-Training, for continuing from Llama-3-8B.

Financial news, each text augmented with M = 3, mixed one to one by tokens with general instructions
(Open-Orca/OpenOrca: question and response with one blank between them, no chat template). A small one:

    python dataset_scripts/finance_corpus.py --engine http://127.0.0.1:8080 --limit 10000 --out finance

The authors did not publish theirs. The news come from ashraq/financial-news-articles (column `text`); --source takes
any other corpus, and what you may do with it is between you and its publisher. Tokens are counted by the tokenizer of
the published model, which is that of its base, Llama-3-8B. --pack 2048 adds sequences for a trainer.
"""

from hub_instructpt.cli.recipes import domain_corpus

if __name__ == "__main__":
    domain_corpus(
        __doc__,
        source="ashraq/financial-news-articles",
        text_column="text",
        tokenizer="instruction-pretrain/finance-Llama3-8B",
    )
