"""Rules across the parts of a configuration; a rule about one field stands at that field.

Each rule is a function from the configuration to the faults it finds, named in the list below. A pair of task and
method that makes no sense is one more rule here.
"""

from __future__ import annotations

from collections.abc import Callable

from feinschliff import registry
from feinschliff.config.evaluation import faults_of_judge
from feinschliff.config.model import ModelConfig
from feinschliff.config.run import RunConfig
from feinschliff.config.training import TrainingConfig
from feinschliff.errors import Fault
from feinschliff.results.formats import LIKELIHOOD_METRICS

Rule = Callable[[RunConfig], list[Fault]]


def splits_leave_training_rows(config: RunConfig) -> list[Fault]:
    """Validation and test together may not take everything."""
    data = config.data
    share = (0.0 if data.validation else data.validation_fraction) + (0.0 if data.test else data.test_fraction)
    if share < 0.95:
        return []
    return [
        Fault(
            f"data.validation_fraction + data.test_fraction = {share:g} leaves nothing to train on",
            where="data.test_fraction",
            remedy="keep the two below 0.95 together",
        )
    ]


def without_validation_rows_the_last_weights_are_kept(config: RunConfig) -> list[Fault]:
    """Nothing can be said to be the best where nothing is measured."""
    if config.data.validation or config.data.validation_fraction or config.training.keep_weights == "last":
        return []
    return [
        Fault(
            "data.validation_fraction = 0 leaves nothing to choose the best weights by",
            where="data.validation_fraction",
            remedy="add --training.keep-weights last, or spare some rows",
        )
    ]


def text_is_one_or_two_columns(config: RunConfig) -> list[Fault]:
    """One text, or a pair of sentences; more where each has a vector of its own."""
    text = config.data.text
    several = ("EMBEDS_TEXTS", "READS_NUMBERS")
    many = _names_keras_file(config) or any(registry.says("task", config.task.type, fact) for fact in several)
    if len(set(text)) == len(text) and many:
        return []
    if len(text) <= 2 and len(set(text)) == len(text):
        return []
    return [
        Fault(
            f"data.text names {len(text)} columns ({', '.join(text)})",
            where="data.text",
            why="a row is one text, or a pair of two different columns",
            remedy="name one column, or two",
        )
    ]


def columns_have_one_role(config: RunConfig) -> list[Fault]:
    """The label is not an input, and neither is what splits are made by."""
    data = config.data
    roles = {"data.target": data.target, "data.group": data.group, "data.time": data.time}
    faults = [
        Fault(
            f"{role} = {column!r} is a text column too",
            where=role,
            why="the model would read what it is to be judged by",
            remedy="name another column",
        )
        for role, column in roles.items()
        if column is not None and column in data.text and role != "data.group"
    ]
    if data.target is not None and data.target in (data.group, data.time):
        faults.append(
            Fault(
                f"column {data.target!r} is both label and {'group' if data.target == data.group else 'time'}",
                "data.target",
            )
        )
    return faults


def time_split_has_no_own_test(config: RunConfig) -> list[Fault]:
    """A split by time makes the test set; an own test file already is one."""
    if config.data.time is None or not config.data.test:
        return []
    return [
        Fault(
            "data.time and data.test are both given",
            where="data.time",
            why="splitting by time makes the newest rows the test set, but a test file is there already",
            remedy="leave one of them out",
        )
    ]


def _reads_texts(config: RunConfig) -> bool:
    return not any(registry.says("task", config.task.type, fact) for fact in ("READS_IMAGES", "READS_NUMBERS"))


def adversarial_steps_have_embeddings_to_move(config: RunConfig) -> list[Fault]:
    """They act through the gradient of the token embeddings."""
    epsilon, method = config.training.adversarial_epsilon, config.method.type
    writes = registry.says("task", config.task.type, "WRITES_TEXTS")
    if epsilon and (writes or not _reads_texts(config)):
        where = "training.adversarial_epsilon"
        why = "its rows have no tokens, so there are no embeddings of tokens to be moved"
        if writes:
            why = "the same table is what words are chosen by: moving it would not be a change of the input alone"
        return [Fault(f"task {config.task.type} does not offer {where}", where, why, "leave it at 0")]
    if not epsilon or registry.says("method", method, "TRAINS_EMBEDDINGS"):
        return []
    return [
        Fault(
            f"training.adversarial_epsilon = {epsilon:g} needs trained token embeddings",
            where="training.adversarial_epsilon",
            why=f"method {method} leaves them as they are",
            remedy="leave it at 0, or train with method full",
        )
    ]


def pretrained_weights_to_pull_back_are_trained(config: RunConfig) -> list[Fault]:
    """L2-SP is about weights that have a start worth keeping."""
    strength, method = config.training.regularisation.l2_sp, config.method.type
    if not strength or registry.says("method", method, "TRAINS_BASE_WEIGHTS"):
        return []
    return [
        Fault(
            f"training.regularisation.l2_sp = {strength:g} has no weights to hold near their start",
            where="training.regularisation.l2_sp",
            why=f"method {method} leaves the pretrained weights as they are and adds new ones",
            remedy="leave it at 0, or train with method full, frozen_layers or bitfit",
        )
    ]


def tokens_are_there_for_methods_that_need_them(config: RunConfig) -> list[Fault]:
    """Some methods put something before tokens, or between the parts of text encoders."""
    task, method = config.task.type, config.method.type
    if _reads_texts(config) or not registry.says("method", method, "NEEDS_TOKENS"):
        return []
    return [
        Fault(
            f"method {method} does not go with task {task}",
            where="method.type",
            why="it changes what stands between layers of text encoders; models of images or numbers have no such "
            "places in common",
            remedy="choose full, frozen_layers, gradual_unfreezing or bitfit (models of transformers: or lora)",
        )
    ]


def _names_keras_file(config: RunConfig) -> bool:
    return config.model.source.partition("?")[0].lower().endswith(".keras")


def adapters_have_linear_layers(config: RunConfig) -> list[Fault]:
    """Keras's Dense layers are not torch's linear layers, on which adapters are put."""
    of_keras = _names_keras_file(config) or registry.says("task", config.task.type, "READS_NUMBERS")
    if not (of_keras and registry.says("method", config.method.type, "NEEDS_LINEAR_LAYERS")):
        return []
    return [
        Fault(
            f"method {config.method.type} does not go with a Keras file",
            where="method.type",
            why="its adapters are put on torch's linear layers, and the layers of a Keras file are Keras's own",
            remedy="choose full, frozen_layers, gradual_unfreezing or bitfit",
        )
    ]


def images_have_no_tokens(config: RunConfig) -> list[Fault]:
    """New tokens are words."""
    task, where = config.task.type, "model.new_tokens"
    if not (config.model.new_tokens and registry.says("task", task, "READS_IMAGES")):
        return []
    return [Fault(f"task {task} does not offer {where}", where, "its rows are no words", "leave it out")]


def encoders_stand_alone_for_methods_that_know_no_decoder(config: RunConfig) -> list[Fault]:
    """What is put before the tokens of encoders has no one place where a decoder reads along."""
    task, method = config.task.type, config.method.type
    if not (registry.says("task", task, "WRITES_TEXTS") and registry.says("method", method, "NEEDS_ENCODER_ALONE")):
        return []
    return [
        Fault(
            f"method {method} does not go with task {task}",
            where="method.type",
            why="it adds places before the tokens of an encoder; decoders are not offered",
            remedy="choose full, frozen_layers, gradual_unfreezing, bitfit, lora, ia3 or bottleneck_adapter",
        )
    ]


def two_passes_differ(config: RunConfig) -> list[Fault]:
    """R-Drop compares two draws of dropout; a task has to say how."""
    options, task = config.training.regularisation, config.task.type
    where = "training.regularisation.r_drop"
    if not options.r_drop:
        return []
    faults = []
    if not config.model.dropout and not config.method.model_dump().get("dropout"):
        why = "without dropout both passes are the same"
        faults.append(Fault(f"{where} = {options.r_drop:g} needs dropout", where, why, "add --model.dropout 0.1"))
    if not registry.says("task", task, "COMPARES_PASSES"):
        faults.append(Fault(f"task {task} does not offer R-Drop", where, remedy="leave it at 0"))
    return faults


def a_pass_is_learned_from_in_one_way(config: RunConfig) -> list[Fault]:
    """Each of these puts itself in the place of the task's loss."""
    given = config.training.regularisation.model_dump()
    asked = [f"training.regularisation.{name}" for name in ("r_drop", "mixup", "pair_contrast") if given[name]]
    if len(asked) < 2:
        return []
    what = f"{' and '.join(asked)} are {'both' if len(asked) == 2 else 'all'} given"
    return [Fault(what, asked[0], "they learn from the same pass in different ways", "choose one of them")]


def rows_can_be_mixed(config: RunConfig) -> list[Fault]:
    """Mixup needs one vector a row and a head on it."""
    share, task = config.training.regularisation.mixup, config.task.type
    if not share or registry.says("task", task, "MIXES_FEATURES"):
        return []
    why = "mixtures have a meaning where each row is one vector with one answer"
    where = "training.regularisation.mixup"
    return [Fault(f"task {task} does not offer mixup", where, why, "leave it at 0")]


def rows_of_a_class_can_be_drawn_together(config: RunConfig) -> list[Fault]:
    """Contrast needs one vector a row, and classes; so does a head that starts at a probe."""
    task, why = config.task.type, "its rows are not single vectors that belong to classes"
    if all(registry.says("task", task, name) for name in ("MIXES_FEATURES", "CLASSIFIES_ROWS")):
        return []
    faults = []
    if config.training.regularisation.pair_contrast:
        where = "training.regularisation.pair_contrast"
        faults.append(Fault(f"task {task} does not offer {where}", where, why, "leave it at 0"))
    if config.model.head_init == "linear_probe":
        where = "model.head_init"
        faults.append(Fault(f"task {task} does not offer {where} linear_probe", where, why, "leave it out"))
    return faults


def classes_are_those_of_rows(config: RunConfig) -> list[Fault]:
    """Evening out counts the rows of each class."""
    task, balance = config.task.type, config.training.balance
    asked = {"class_weights": balance.class_weights != "none", "sampling": balance.sampling != "natural"}
    if registry.says("task", task, "CLASSIFIES_ROWS"):
        return []
    why = "its rows do not belong to classes"
    return [
        Fault(f"task {task} does not offer training.balance.{name}", f"training.balance.{name}", why, "leave it out")
        for name, given in asked.items()
        if given
    ]


def validation_may_choose(config: RunConfig) -> list[Fault]:
    """A soup, or what early stopping watches, has no effect where the last weights are kept or nothing stops early."""
    training, place = config.training, "training.regularisation"
    faults = []
    if training.keep_weights == "last":
        for name in ("soup", "early_stopping_metric"):
            if training.regularisation.model_dump()[name]:
                remedy = f"leave {name} out, or --training.keep-weights best"
                why = "the last weights are kept, whatever validation says"
                faults.append(Fault(f"{place}.{name} has no effect", f"{place}.{name}", why, remedy))
    elif training.regularisation.early_stopping_metric and training.early_stopping_patience is None:
        name, why = f"{place}.early_stopping_metric", "training.early_stopping_patience is none: nothing stops early"
        faults.append(Fault(f"{name} has no effect", name, why, "give a patience, such as 3"))
    return faults


def language_models_have_no_head(config: RunConfig) -> list[Fault]:
    """What is about a head, a pooled vector or dropout of encoders would be ignored."""
    if not registry.says("task", config.task.type, "CONTINUES_TEXTS"):
        return []
    usual_model, usual = ModelConfig(), TrainingConfig()
    given = {
        "model.dropout": config.model.dropout != usual_model.dropout,
        "model.pooling": config.model.pooling != usual_model.pooling,
        "model.head_init": config.model.head_init != usual_model.head_init,
        "training.head_learning_rate_multiplier": config.training.head_learning_rate_multiplier
        != usual.head_learning_rate_multiplier,
    }
    why = "a language model has no new head, its rows are not pooled, and its own dropout is left as it is"
    return [
        Fault(f"task {config.task.type} does not offer {name}", name, why, "leave it out")
        for name, asked in given.items()
        if asked
    ]


def divided_weights_are_those_of_decoders(config: RunConfig) -> list[Fault]:
    """Layers gather their weights when they are called one by one."""
    training, method = config.training, config.method.type
    if training.parallelism != "fsdp":
        return []
    where, faults = "training.parallelism", []
    if not registry.says("task", config.task.type, "CONTINUES_TEXTS"):
        why = "only language models are large enough to be divided over processes"
        remedy = "leave it at ddp, or say that these are conversations: --task sft"
        faults.append(Fault(f"fsdp is not for task {config.task.type}", where, why, remedy))
    if method == "gradual_unfreezing":
        why = "which weights are trained is settled when they are divided"
        faults.append(Fault("fsdp does not go with method gradual_unfreezing", where, why, "leave it at ddp"))
    if training.regularisation.soup:
        why = "weights are averaged by one process, which has only its part of them"
        faults.append(Fault("fsdp does not go with a soup", where, why, "leave training.regularisation.soup at 0"))
    return faults


def gpus_are_asked_for_where_tasks_use_them(config: RunConfig) -> list[Fault]:
    """The others make their batches for the CPU."""
    task, where = config.task.type, "training.device"
    if config.training.device != "cuda" or registry.says("task", task, "COMPUTES_ON_GPUS"):
        return []
    why = "its batches and outputs are made for the CPU"
    return [Fault(f"task {task} does not compute on GPUs yet", where, why, "leave it at auto")]


def judges_have_answers_to_read(config: RunConfig) -> list[Fault]:
    """A judge is asked about what language models write; what it takes is all there."""
    asked = config.evaluation
    if asked.judge_url and not registry.says("task", config.task.type, "CONTINUES_TEXTS"):
        name = "evaluation.judge_url"
        why = "a judge compares answers that language models write to conversations"
        return [Fault(f"task {config.task.type} does not offer {name}", name, why, "leave it out")]
    return faults_of_judge(asked)


def written_metrics_have_texts(config: RunConfig) -> list[Fault]:
    """What decides is measured."""
    asked, name = config.evaluation, "evaluation.metric"
    writes = registry.says("task", config.task.type, "CONTINUES_TEXTS")
    if not writes or asked.metric is None or asked.metric in LIKELIHOOD_METRICS or asked.written_rows:
        return []
    why = "evaluation.written_rows is 0: nothing is written"
    return [Fault(f"{asked.metric!r} cannot decide", name, why, "let some rows be written, or take loss")]


def quantised_bases_are_those_of_decoders(config: RunConfig) -> list[Fault]:
    """Encoders are small; and every process holds the packed weights whole."""
    kind, task = config.method.model_dump().get("quantization", "none"), config.task.type
    where, faults = "method.quantization", []
    if kind == "none":
        return []
    if not registry.says("task", task, "CONTINUES_TEXTS"):
        why = "a base in fewer bits is offered for language models, where the base is what fills the memory"
        remedy = "leave it out, or say that these are conversations: --task sft"
        faults.append(Fault(f"task {task} does not offer {where} {kind}", where, why, remedy))
    if config.training.parallelism == "fsdp":
        why = "weights in fewer bits are not divided over processes"
        faults.append(Fault(f"fsdp does not go with {where} {kind}", where, why, "leave training.parallelism at ddp"))
    return faults


RULES: tuple[Rule, ...] = (
    splits_leave_training_rows,
    without_validation_rows_the_last_weights_are_kept,
    text_is_one_or_two_columns,
    columns_have_one_role,
    time_split_has_no_own_test,
    adversarial_steps_have_embeddings_to_move,
    pretrained_weights_to_pull_back_are_trained,
    two_passes_differ,
    a_pass_is_learned_from_in_one_way,
    rows_can_be_mixed,
    rows_of_a_class_can_be_drawn_together,
    classes_are_those_of_rows,
    validation_may_choose,
    tokens_are_there_for_methods_that_need_them,
    encoders_stand_alone_for_methods_that_know_no_decoder,
    images_have_no_tokens,
    adapters_have_linear_layers,
    language_models_have_no_head,
    quantised_bases_are_those_of_decoders,
    divided_weights_are_those_of_decoders,
    gpus_are_asked_for_where_tasks_use_them,
    judges_have_answers_to_read,
    written_metrics_have_texts,
)


def check(config: RunConfig) -> list[Fault]:
    """The faults of all rules."""
    return [fault for rule in RULES for fault in rule(config)]
