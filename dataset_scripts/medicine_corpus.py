# /// script
# requires-python = ">=3.11"
# dependencies = ["hub-instructpt[local]"]
# ///
"""The medicine corpus of Instruction Pre-Training, for continuing from Llama-3-8B.

Abstracts of PubMed, each augmented with M = 3, mixed one to one by tokens with general instructions
(Open-Orca/OpenOrca: question and response with one blank between them, no chat template). A small one:

    python dataset_scripts/medicine_corpus.py --engine http://127.0.0.1:8080 --limit 10000 --out medicine

The abstracts come from MedRAG/pubmed (column `content`); --source takes any other corpus. Tokens are counted by the
tokenizer of the published model, which is that of its base, Llama-3-8B. --pack 2048 adds sequences for a trainer.
"""

from hub_instructpt.cli.recipes import domain_corpus

if __name__ == "__main__":
    domain_corpus(
        __doc__,
        source="MedRAG/pubmed",
        text_column="content",
        tokenizer="instruction-pretrain/medicine-Llama3-8B",
    )
