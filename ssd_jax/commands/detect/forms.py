"""What ``--write`` of detect.py may name. Without imports, so that a wrong name is refused before JAX is imported."""

FORMS = ("pictures", "jsonl", "comp4", "coco")
