//! The protocol with one clause turned off. Each must be refused: a search that cannot tell a mutant from the protocol proves nothing.

use crate::state::Purpose;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The protocol as it is.
    None,
    /// Trace 1: nothing is compared between read and write.
    NoGeneration,
    /// Trace 2: the generation is the mirror's row's own, and goes with it.
    GenerationOnTheMirrorsRow,
    /// Trace 3: Clouddriver's row is read before the generation.
    ReadBeforeTheGeneration,
    /// Trace 4: what is open when a run applies ends with it.
    OneReadEndsAll,
    /// Trace 5: an intent of unknown outcome ends with the first read.
    UnknownEndsAtOnce,
    /// Trace 6: a replica that was stopped forwards without looking at the clock.
    ForwardsWithoutLooking,
    /// Trace 7: every error is a refusal.
    ErrorsAreRefusals,
    /// Trace 8: a claim does not look at the pre-image.
    PreImageIsForgotten,
    /// Trace 9: a row here and a row there means an update.
    RowAndMirrorMeanUpdate,
    /// Trace 10: a new POST updates the row that an agent is letting go.
    DyingRowIsUpdated,
    /// Trace 11: a pass and `POST /armory/accounts` write what they read some time ago.
    OldPages,
    /// Trace 12: a claim does not look at what was claimed.
    ClaimedIsForgotten,
    /// Trace 13: Clouddriver's row is read from a server that lags.
    LaggingRead,
    /// Trace 14: the handler goes when its client leaves.
    HandlerDiesWithItsClient,
    /// Trace 15: an intent that was given up and commits later belongs to nobody.
    LateIntentBelongsToNobody,
    /// Trace 16: what the API's list does not show is deleted.
    AbsentFromTheListIsDeleted,
    /// Other open intents are looked for in the snapshot only.
    OthersAsInTheSnapshot,
    /// What was seen while a gap was open counts as seen before it.
    SeenDuringTheGap,
    /// A pass closes the gap also where it had to leave a name to open intents.
    OnePassClosesTheGap,
    /// A POST ends with the transaction that removes the row in its way.
    RemovalEndsThePost,
    /// Whether G has passed is looked up when a run applies.
    WindowJudgedAtTheEnd,
    /// The pre-image of an intent that was written late is taken for one from before the change.
    LatePreImageIsBelieved,
    /// A PUT that does not know what was there before it explains a row that began at about its time.
    NearnessExplains,
}

impl Mutant {
    /// Whether a run for this purpose writes without comparing the name's generation.
    pub const fn ignores_generation(self, purpose: Purpose) -> bool {
        match self {
            Self::NoGeneration | Self::GenerationOnTheMirrorsRow => true,
            Self::OldPages => !matches!(purpose, Purpose::Intents),
            _ => false,
        }
    }
}
