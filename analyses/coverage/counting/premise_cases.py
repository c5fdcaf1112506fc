"""True and false premises that are counted."""

from __future__ import annotations

from boundprobe.channels import (
    EnumeratedMachine,
    KeyValueStream,
    SymmetricStorage,
    TokenStream,
    WholeStateLoss,
)
from counting.channels import GroupedStorage, Parity, SharedPart
from counting.premise_samples import (
    BIASED_BITS,
    DOCUMENT_BITS,
    PremiseSample,
    absent,
    answers_of,
    biased,
    copies,
    dependent,
    documents,
    last_of_all,
    of_channel,
    of_groups,
    one_latent,
    presence_tells,
    shared_part,
    some_copied,
    spread_pairs,
    support,
    token_stream,
    uniform,
    weak_pair,
)

STORAGE = SymmetricStorage(4, 4, 0.8)
LOSS = WholeStateLoss(2, 2, 0.3)
GROUPS = GroupedStorage(4, 8, 0.9, 0.2, 0.2)
SHARED, PARITY, TOKENS = SharedPart(4, 8, 3, 0.3), Parity(6, 4, 0.2), TokenStream(5, 12)
KEYS, MACHINE = KeyValueStream(6, 8, 8, 0.1), EnumeratedMachine(4, 3, 6)
TRUE = (
    PremiseSample("uniform 8x4", "true", uniform(8, 4), n_reports=60),
    PremiseSample("uniform 8x64", "true", uniform(8, 64), n_reports=60),
    PremiseSample("uniform 64x2", "true", uniform(64, 2)),
    PremiseSample("uniform 1x50", "true", uniform(1, 50), n_reports=60),
    *(
        PremiseSample(f"uniform {n}x{k}", "true", uniform(n, k), n_reports=60)
        for n, k in ((6, 5), (10, 36), (4, 8), (1, 1000))
    ),
    PremiseSample("absent answers 8x16, half", "true", absent(0.5), n_reports=60),
    PremiseSample("key-value stream 6x8", "true", of_channel(KEYS, n_values=8), KEYS.true_bits),
    PremiseSample("storage 4x4, kept 0.8", "true", of_channel(STORAGE, n_values=4), STORAGE.true_bits),
    PremiseSample("whole-state loss 2x2", "true", of_channel(LOSS, n_values=2), LOSS.true_bits),
    PremiseSample("machine 4x3 of 6 states", "true", of_channel(MACHINE, n_values=3), MACHINE.true_bits),
    PremiseSample("biased answers, entropy stated", "true", biased(0.0)),
    PremiseSample("biased answers stored, entropy stated", "true", biased(0.0, stored=True), BIASED_BITS),
    PremiseSample(
        "shared part 4x8, entropy stated", "true", of_channel(SHARED, n_values=8, entropy_bits=SHARED.entropy_bits),
        SHARED.true_bits,
    ),
    PremiseSample(
        "parity 6x4, entropy stated", "true", of_channel(PARITY, n_values=4, entropy_bits=PARITY.entropy_bits),
        PARITY.true_bits,
    ),
    PremiseSample(
        "token stream 5, entropy stated", "true", of_channel(TOKENS, n_values=5, entropy_bits=TOKENS.entropy_bits),
        TOKENS.true_bits,
    ),
    PremiseSample("groups 4x8, named", "true", of_groups(GROUPS), GROUPS.true_bits),
    PremiseSample("two cuts, named", "true", copies(2, changed=1, named=True)),
)  # fmt: skip
FALSE = (
    PremiseSample("shared part, 16 of 64", "P4", shared_part(16)),
    PremiseSample("shared part, 48 of 64", "P4", shared_part(48)),
    PremiseSample("a pair equal with 0.05", "P4", weak_pair(0.05)),
    PremiseSample("a pair equal with 0.2", "P4", weak_pair(0.2)),
    PremiseSample("presence tells", "P4", presence_tells),
    PremiseSample("token stream 5, 12 long", "P4", answers_of(TOKENS)),
    PremiseSample("token stream 24, 60 long", "P4", token_stream(24, 60)),
    PremiseSample("parity of six", "P4", answers_of(PARITY)),
    PremiseSample("each copies each before with 0.03", "P4", spread_pairs(32, 16, 0.03)),
    PremiseSample("one value behind 130 answers, 0.05 asked", "P4", one_latent(130, 16, 0.05), 4.0),
    *(PremiseSample(f"biased, {bits} bits too high", "P5", biased(bits)) for bits in (5, 2, 1, 0.5, 0.2)),
    *(
        PremiseSample(f"biased, stored, {bits} bits too high", "P5", biased(bits, stored=True), BIASED_BITS)
        for bits in (5, 2, 1, 0.5, 0.2)
    ),
    *(PremiseSample(f"parity, {bits} bits too high", "P5", dependent(PARITY, bits)) for bits in (1, 0.5, 0.2)),
    *(
        PremiseSample(f"parity, stored, {bits} bits too high", "P5", dependent(PARITY, bits, stored=True), 10.0)
        for bits in (1, 0.5, 0.2)
    ),
    *(
        PremiseSample(f"function of all, stored, {bits} bits too high", "P5", last_of_all(bits), 10.0)
        for bits in (1, 0.5, 0.2)
    ),
    *(PremiseSample(f"support {k} of 1000", "P6", support(k), n_reports=6) for k in (26, 500, 950)),
    PremiseSample("two cuts, a value changed, states exact", "P7", copies(2, changed=1)),
    PremiseSample("two cuts, a value changed, states noisy", "P7", copies(2, changed=1, state_noise=0.5)),
    PremiseSample("two cuts, six draws anew, states noisy", "P7", copies(2, changed=6, state_noise=0.5)),
    *(
        PremiseSample(f"two cuts of {share} of all, states noisy", "P7", some_copied(share))
        for share in (0.02, 0.1, 0.5)
    ),
    PremiseSample("30 of each of 100 documents, entropy stated", "P7", documents(100, 30), DOCUMENT_BITS),
    PremiseSample("three copies, states exact", "P7", copies(3)),
    PremiseSample("three copies, states noisy", "P7", copies(3, state_noise=0.5)),
    PremiseSample("prototypes three times, 0.1 of the bits flipped", "P7", copies(3, flips=0.1)),
)
SAMPLES = {sample.name: sample for sample in (*TRUE, *FALSE)}
