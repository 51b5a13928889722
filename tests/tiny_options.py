"""Options with which every method runs on the tiny backbone of the tests, which has two blocks in each tower."""

TINY_OPTIONS = {
    "coop": ["coop.n_ctx=4"],
    "finetune": ["finetune.depth=1"],
    "image_tail": ["image_tail.depth=1"],
    "coprompt": ["coprompt.depth=2"],
    "maple": ["maple.depth=2"],
    "promptsrc": ["promptsrc.depth_text=2", "promptsrc.depth_image=1", "data.teacher_templates=drawings"],
    "skip": ["skip.depth=1"],
    "tcp": ["tcp.layer=1"],
    "clip_lora": ["train.iterations_per_shot=null"],
    "mma": ["mma.start=1"],
}
