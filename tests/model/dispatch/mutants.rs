//! Dispatch with one clause turned off. Each must be refused: a search that cannot tell a mutant from the real thing proves nothing.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// As it is.
    None,
    /// What was planned is written though the row has changed since.
    NoCompareAndSet,
    /// An answer is taken for the row as it is now.
    AnswersAreBelieved,
    /// A row is due when its writer says, though a wish is to be followed.
    WishesWaitForTheWriter,
    /// What is begun has no deadline, and a start wakes nothing.
    NoDeadlineAndNoWake,
    /// An operation is taken to be under way because the row names it.
    NamedIsUnderWay,
    /// Operations of this process are not remembered.
    OperationsAreForgotten,
    /// What may not be held is left where it is.
    StraysStay,
    /// What has no row is left where it is.
    NoRowMeansNothing,
    /// There is no look at everything after a start.
    NoLookAtEverything,
    /// Who registers is not compared with the rows.
    RegistrationsAreNotCompared,
    /// Who registers starts nothing that waits.
    RegistrationsWakeNothing,
    /// Who has something on its way to it counts as without it.
    OnItsWayIsNobody,
    /// Nobody is told who watches.
    NoRoles,
    /// A write that may not have been done is not looked at again.
    LostWritesAreNotMarked,
    /// An account that is well is not given to further agents.
    NobodyIsGiven,
    /// An outcome tells what an agent has, though a later order has been sent.
    OutcomesInAnyOrder,
    /// As that, of two orders to add one generation only.
    AddsInAnyOrder,
    /// The first agent of a zone is asked, and no other.
    OneOfAZoneIsAsked,
    /// What was planned earlier is sent though something later has been.
    OlderOrdersAreSent,
    /// A zone that was found is waited for without end.
    FoundZonesAreKept,
}
