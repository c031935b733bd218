"""What many tests share: where real data lies, and a tiny random BERT for the mechanics. Knows no test."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TINY_TEXT = (
    "the a an and or not no is was are be to of in on for with from my your it this that where when what how why who "
    "good bad great poor movie film book card bank account transfer money payment parcel order refund delivery late "
    "lost broken new old fast slow please help cancel change need want have has do does can could red green blue "
    "dog cat house car train time day night happy sad love hate food water work home city price cheap expensive"
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; the test skips where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as the Hub has them: random BERT (hidden 32, 3 layers, 4 heads), real WordPiece tokenizer.

    The same bits every time. Shared by all tests of a session: copy it before changing anything in it.
    """
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny_bert")
    vocabulary = save_tiny_tokenizer(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        pad_token_id=vocabulary["[PAD]"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image model's folder as the Hub has them: random ViT (hidden 32, 3 layers, 16 patches of 8 x 8 pixels)."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    folder = tmp_path_factory.mktemp("tiny_vit")
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ViTForImageClassification(ViTConfig(**shape, image_size=32, patch_size=8)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a Keras file in it: two Dense layers below the classifier, on rows of four numbers."""
    from feinschliff.models import keras_files
    from tests.models.tiny_keras import saved, table_net

    folder = tmp_path_factory.mktemp("tiny_keras")
    keras_files.library()
    file = saved(table_net(), folder / "model.keras")
    (folder / "keras.json").write_text(f'{{"source": "{file.name}"}}', encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder-decoder's folder as the Hub has them: random BART (width 32, 1 layer below 2), tied embeddings."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    folder = tmp_path_factory.mktemp("tiny_bart")
    vocabulary = save_tiny_tokenizer(folder, bos_token="[CLS]", eos_token="[SEP]")
    shape = {
        f"{side}_{part}": number
        for side, layers in (("encoder", 1), ("decoder", 2))
        for part, number in (("layers", layers), ("attention_heads", 4), ("ffn_dim", 64))
    }
    names = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "decoder_start": "[SEP]", "forced_eos": "[SEP]"}
    ids = {f"{name}_token_id": vocabulary[token] for name, token in names.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BartConfig(vocab_size=len(vocabulary), d_model=32, max_position_embeddings=128, **shape, **ids)
        BartForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model's folder as the Hub has them: random Llama (width 32, 2 layers, tied, with biases so that every
    method finds what it trains), with a chat template."""
    from tests.models.tiny_decoders import save_tiny_decoder

    return save_tiny_decoder(tmp_path_factory.mktemp("tiny_decoder"), "llama with biases")


def save_tiny_tokenizer(folder: Path, **special: str) -> dict[str, int]:
    """Write a WordPiece tokenizer that can spell every ASCII word into ``folder``; its vocabulary."""
    from transformers import BertTokenizer

    characters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += list(characters) + [f"##{character}" for character in string.ascii_lowercase + string.digits]
    tokens += [word for word in dict.fromkeys(TINY_TEXT.split()) if word not in tokens] + ["##ed", "##ing"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=128, **special)
    tokenizer.save_pretrained(folder)
    return vocabulary
