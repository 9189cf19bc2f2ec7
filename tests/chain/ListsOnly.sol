// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// A contract as other deployments have it: no events to follow, no pages, nothing that tells the owner.
contract ListsOnly {
    uint256 public transaction_count;
    string[] public policies;
    string[] public policy_ids;

    function num_policies() external view returns (uint256) {
        return policies.length;
    }

    function insert(string calldata id, string calldata json) external {
        policies.push(json);
        policy_ids.push(id);
        transaction_count++;
    }
}
